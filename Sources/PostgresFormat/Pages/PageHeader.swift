/// The header of a relation's page. Source: `PageHeaderData` in `storage/bufpage.h`.
///
/// Pages of all forks begin with one; an unused page is all zeros.
public struct PageHeader: Hashable, Sendable {
  /// The end of the last WAL record that changed the page.
  public var lsn: LSN
  public var checksum: UInt16
  public var flags: UInt16
  public var lower: UInt16
  public var upper: UInt16
  public var special: UInt16
  public var pageSizeAndVersion: UInt16
  public var pruneXID: UInt32

  /// Bytes of the header.
  public static let length = 24

  /// Reads a header without judging it; nil when there are fewer than 24 bytes.
  public init?(_ page: UnsafeRawBufferPointer) {
    guard let base = page.baseAddress, page.count >= PageHeader.length else { return nil }
    // Two halves, the upper first: not a 64-bit number on disk.
    lsn = LSN(UInt64(base.u32(0)) << 32 | UInt64(base.u32(4)))
    checksum = base.u16(8)
    flags = base.u16(10)
    lower = base.u16(12)
    upper = base.u16(14)
    special = base.u16(16)
    pageSizeAndVersion = base.u16(18)
    pruneXID = base.u32(20)
  }

  /// `PageIsNew`: never initialised. Such a page must be all zeros.
  public var isNew: Bool { upper == 0 }

  /// Whether the header is one that PostgreSQL accepts when it reads a page, checksum aside.
  ///
  /// Source: `PageIsVerifiedExtended` in `storage/page/bufpage.c`. A new page is not valid in this
  /// sense.
  public var isValid: Bool {
    let size = UInt16(PostgresLayout.blockSize)
    return flags & ~0x0007 == 0 && lower <= upper && upper <= special && special <= size
      && special & 7 == 0 && !isNew && pageSizeAndVersion == size | 4
  }
}
