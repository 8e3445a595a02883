import CCRC32C
import PostgresFormat

/// The `pg_control` of a data directory in which nothing ever was: what `ReadControlFile` wants to
/// see before it lets a server start.
///
/// Source: `ControlFileData` in `catalog/pg_control.h`.
enum WorkerControlFile {
  static func bytes(major: PostgresMajor) -> [UInt8] {
    let table = major.format
    var bytes = [UInt8](repeating: 0, count: PostgresLayout.controlFileSize)
    bytes.withUnsafeMutableBytes { buffer in
      let base = buffer.baseAddress!
      base.put(UInt64(1), at: 0)  // system identifier
      base.put(table.controlVersion, at: 8)
      base.put(table.catalogVersion, at: 12)
      base.put(UInt32(1), at: 16)  // state: shut down
      base.put(UInt32(8), at: 204)  // maximum alignment
      base.put((1_234_567.0).bitPattern, at: 208)  // FLOATFORMAT_VALUE
      base.put(UInt32(PostgresLayout.blockSize), at: 216)
      base.put(PostgresLayout.blocksPerSegment, at: 220)
      base.put(UInt32(PostgresLayout.walBlockSize), at: 224)
      base.put(UInt32(WALSegment.defaultSize), at: 228)
      base.put(UInt32(64), at: 232)  // NAMEDATALEN
      base.put(UInt32(32), at: 236)  // INDEX_MAX_KEYS
      base.put(UInt32(1996), at: 240)  // TOAST_MAX_CHUNK_SIZE
      base.put(UInt32(2048), at: 244)  // LOBLKSIZE
      base.put(UInt8(1), at: 248)  // float8 by value
      if major >= .v18 { base.put(UInt8(1), at: 256) }  // char is signed
      base.put(exzo_crc32c(0, base, table.controlCRCOffset), at: table.controlCRCOffset)
    }
    return bytes
  }
}
