/// What differs between major versions, as data: the only place that knows.
///
/// Sources: `access/xlog_internal.h`, `access/xlogrecord.h`, `catalog/pg_control.h`,
/// `catalog/catversion.h`, `commands/dbcommands_xlog.h`, `access/xact.h` of each version.
public struct FormatTable: Hashable, Sendable {
  public let major: PostgresMajor
  /// `XLOG_PAGE_MAGIC`.
  public let walPageMagic: UInt16
  /// `PG_CONTROL_VERSION`.
  public let controlVersion: UInt32
  /// `CATALOG_VERSION_NO` of the released major, part of a tablespace directory's name.
  public let catalogVersion: UInt32
  /// Where the CRC lies in `pg_control`; it covers every byte before it.
  public let controlCRCOffset: Int
  /// `BKPIMAGE_APPLY`.
  let imageApplies: UInt8
  /// The bits of `bimg_info` that say that the image is compressed.
  let imageCompressed: UInt8
  let imageCompressionMethods: ImageCompressionBits
  let databaseOpcodes: DatabaseOpcodes
  /// `sizeof(xl_xact_stats_item)` in commit, abort and prepare records; 0 before 15, which has
  /// none.
  let droppedStatisticsLength: Int

  struct ImageCompressionBits: Hashable, Sendable {
    var pglz: UInt8
    var lz4: UInt8
    var zstd: UInt8
  }

  /// Opcodes of `RM_DBASE_ID`. Until 14 there is one way to create a database.
  struct DatabaseOpcodes: Hashable, Sendable {
    var createByFileCopy: UInt8
    var createByWAL: UInt8?
    var drop: UInt8
  }
}

extension FormatTable {
  private static let flags15 = ImageCompressionBits(pglz: 0x04, lz4: 0x08, zstd: 0x10)
  private static let databases15 = DatabaseOpcodes(
    createByFileCopy: 0x00, createByWAL: 0x10, drop: 0x20)

  static let v14 = FormatTable(
    major: .v14, walPageMagic: 0xD10D, controlVersion: 1300, catalogVersion: 202_107_181,
    controlCRCOffset: 288, imageApplies: 0x04, imageCompressed: 0x02,
    imageCompressionMethods: ImageCompressionBits(pglz: 0x02, lz4: 0, zstd: 0),
    databaseOpcodes: DatabaseOpcodes(createByFileCopy: 0x00, createByWAL: nil, drop: 0x10),
    droppedStatisticsLength: 0)

  static let v15 = FormatTable(
    major: .v15, walPageMagic: 0xD110, controlVersion: 1300, catalogVersion: 202_209_061,
    controlCRCOffset: 288, imageApplies: 0x02, imageCompressed: 0x1C,
    imageCompressionMethods: flags15, databaseOpcodes: databases15,
    droppedStatisticsLength: 12)

  static let v16 = FormatTable(
    major: .v16, walPageMagic: 0xD113, controlVersion: 1300, catalogVersion: 202_307_071,
    controlCRCOffset: 288, imageApplies: 0x02, imageCompressed: 0x1C,
    imageCompressionMethods: flags15, databaseOpcodes: databases15,
    droppedStatisticsLength: 12)

  static let v17 = FormatTable(
    major: .v17, walPageMagic: 0xD116, controlVersion: 1300, catalogVersion: 202_406_281,
    controlCRCOffset: 288, imageApplies: 0x02, imageCompressed: 0x1C,
    imageCompressionMethods: flags15, databaseOpcodes: databases15,
    droppedStatisticsLength: 12)

  static let v18 = FormatTable(
    major: .v18, walPageMagic: 0xD118, controlVersion: 1800, catalogVersion: 202_506_291,
    controlCRCOffset: 292, imageApplies: 0x02, imageCompressed: 0x1C,
    imageCompressionMethods: flags15, databaseOpcodes: databases15,
    droppedStatisticsLength: 16)
}

/// Constants that all of these versions share, for servers built with the default sizes.
public enum PostgresLayout {
  /// `BLCKSZ`: bytes of a page of a relation, SLRU or map.
  public static let blockSize = 8192
  /// `XLOG_BLCKSZ`: bytes of a WAL page.
  public static let walBlockSize = 8192
  /// `RELSEG_SIZE`: pages of a full segment file (1 GiB).
  public static let blocksPerSegment: UInt32 = 131_072
  /// `PG_CONTROL_FILE_SIZE`.
  public static let controlFileSize = 8192
  /// `pg_default`, whose relations lie below `base/`.
  public static let defaultTablespace: UInt32 = 1663
  /// `pg_global`, whose relations lie in `global/`.
  public static let globalTablespace: UInt32 = 1664
}
