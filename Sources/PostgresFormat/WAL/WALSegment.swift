/// Which file of `pg_wal` holds a position, and what it is called.
///
/// Source: the macros of `access/xlog_internal.h`.
public struct WALSegment: Hashable, Sendable {
  public var timeline: TimelineID
  /// Counted from the log's beginning; 1 is the first that PostgreSQL uses.
  public var number: UInt64
  /// Bytes; a power of two from 1 MiB to 1 GiB.
  public var size: UInt64

  /// `wal_segment_size` as `initdb` sets it.
  public static let defaultSize: UInt64 = 16 << 20

  /// Whether PostgreSQL accepts this segment size.
  public static func isValidSize(_ size: UInt64) -> Bool {
    size.nonzeroBitCount == 1 && size >= 1 << 20 && size <= 1 << 30
  }

  /// The segment whose first byte is at or below `lsn` and whose last is not below it.
  /// - Parameter size: must satisfy ``isValidSize(_:)``.
  public init(timeline: TimelineID, containing lsn: LSN, size: UInt64 = WALSegment.defaultSize) {
    precondition(WALSegment.isValidSize(size), "WAL segment size")
    self.timeline = timeline
    self.number = lsn.rawValue / size
    self.size = size
  }

  /// The segment that a file name says, nil for any other name.
  ///
  /// - Parameter name: 24 upper-case hexadecimal digits; a suffix such as `.partial` is refused.
  public init?(fileName name: some StringProtocol, size: UInt64 = WALSegment.defaultSize) {
    guard WALSegment.isValidSize(size), name.utf8.count == 24,
      name.utf8.allSatisfy({ (48...57).contains($0) || (65...70).contains($0) })
    else { return nil }
    let digits = Array(name.utf8)
    func number(_ range: Range<Int>) -> UInt64 {
      digits[range].reduce(0) { $0 << 4 | UInt64($1 < 65 ? $1 - 48 : $1 - 55) }
    }
    let perID = WALSegment.segmentsPerID(size)
    guard number(16..<24) < perID else { return nil }
    timeline = TimelineID(UInt32(number(0..<8)))
    self.number = number(8..<16) * perID + number(16..<24)
    self.size = size
  }

  /// The file name in `pg_wal`.
  public var fileName: String {
    let perID = WALSegment.segmentsPerID(size)
    return WALSegment.padded(UInt64(timeline.rawValue))
      + WALSegment.padded(number / perID & 0xFFFF_FFFF) + WALSegment.padded(number % perID)
  }

  public var startLSN: LSN { LSN(number &* size) }
  /// The first position that is no longer in the segment.
  public var endLSN: LSN { LSN((number &+ 1) &* size) }

  public var next: WALSegment {
    var segment = self
    segment.number += 1
    return segment
  }

  private static func segmentsPerID(_ size: UInt64) -> UInt64 { 0x1_0000_0000 / size }

  private static func padded(_ number: UInt64) -> String {
    let digits = String(number, radix: 16, uppercase: true)
    return String(repeating: "0", count: max(0, 8 - digits.count)) + digits
  }
}

extension WALSegment {
  /// Writes a system identifier into the long header of a segment's first page, in place.
  ///
  /// WAL page headers carry no checksum, so nothing else changes.
  /// - Parameter firstPage: at least the first 40 bytes of a segment.
  /// - Throws: ``FormatError`` when these are not the start of a segment of this version; the bytes
  ///   are then unchanged.
  public static func setSystemIdentifier(
    _ identifier: UInt64, inFirstPage firstPage: UnsafeMutableRawBufferPointer,
    format: PostgresMajor
  ) throws {
    guard firstPage.count >= WALPageHeader.longLength else {
      throw FormatError(
        .fileLength, expected: "at least \(WALPageHeader.longLength)", found: "\(firstPage.count)")
    }
    guard let header = WALPageHeader(UnsafeRawBufferPointer(firstPage)),
      header.magic == format.format.walPageMagic
    else {
      let found = UnsafeRawPointer(firstPage.baseAddress!).u16(0)
      throw FormatError(
        .pageMagic, offset: 0, expected: hex(format.format.walPageMagic), found: hex(found))
    }
    guard header.segment != nil else {
      throw FormatError(
        .pageFlags, offset: 2, expected: "a long header", found: hex(header.flags.rawValue))
    }
    firstPage.storeBytes(
      of: identifier.littleEndian, toByteOffset: WALPageHeader.systemIdentifierOffset,
      as: UInt64.self)
  }
}

extension LSN {
  /// The start of the WAL page that holds this position.
  public var pageStart: LSN { LSN(rawValue & ~UInt64(PostgresLayout.walBlockSize - 1)) }

  /// The position rounded up to the 8 bytes at which records begin; held at the largest such.
  public var alignedUp: LSN {
    let (sum, overflow) = rawValue.addingReportingOverflow(7)
    return LSN((overflow ? UInt64.max : sum) & ~7)
  }
}
