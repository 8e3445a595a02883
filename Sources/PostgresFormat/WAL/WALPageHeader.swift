/// The header of a WAL page. Source: `XLogPageHeaderData`, `XLogLongPageHeaderData`.
public struct WALPageHeader: Hashable, Sendable {
  public var magic: UInt16
  public var flags: Flags
  public var timeline: TimelineID
  public var address: LSN
  /// Bytes that remain of the record that began on an earlier page.
  public var remainingLength: UInt32
  /// The part that only a segment's first page has.
  public var segment: Segment?

  public struct Flags: OptionSet, Hashable, Sendable {
    public var rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let startsWithContinuation = Flags(rawValue: 0x0001)
    public static let hasLongHeader = Flags(rawValue: 0x0002)
    public static let imagesAreRemovable = Flags(rawValue: 0x0004)
    /// The record cut at the end of the page before was given up; another follows here.
    public static let overwritesContinuation = Flags(rawValue: 0x0008)
    static let all = Flags(rawValue: 0x000F)
  }

  public struct Segment: Hashable, Sendable {
    public var systemIdentifier: UInt64
    public var segmentSize: UInt32
    public var blockSize: UInt32
  }

  /// Bytes of the header of every page but a segment's first.
  public static let shortLength = 24
  /// Bytes of the header of a segment's first page.
  public static let longLength = 40
  /// Where `xlp_sysid` lies in a segment's first page.
  public static let systemIdentifierOffset = 24

  /// Reads a header without judging it; nil when there are too few bytes for it.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, bytes.count >= WALPageHeader.shortLength else { return nil }
    magic = base.u16(0)
    flags = Flags(rawValue: base.u16(2))
    timeline = TimelineID(base.u32(4))
    address = LSN(base.u64(8))
    remainingLength = base.u32(16)
    guard flags.contains(.hasLongHeader) else { return }
    guard bytes.count >= WALPageHeader.longLength else { return nil }
    segment = Segment(
      systemIdentifier: base.u64(24), segmentSize: base.u32(32), blockSize: base.u32(36))
  }
}

extension WALPageHeader {
  /// What a page header must say; nil members are not checked.
  struct Expectation {
    var magic: UInt16
    var address: LSN
    var isFirstOfSegment: Bool
    var segmentSize: UInt64
    var timeline: TimelineID?
    var minimumTimeline: TimelineID?
    var systemIdentifier: UInt64?
  }

  /// As `XLogReaderValidatePageHeader`.
  func validate(_ expected: Expectation) throws {
    func check(_ holds: Bool, _ code: FormatError.Code, _ wanted: String, _ found: String) throws {
      if !holds { throw FormatError(code, lsn: expected.address, expected: wanted, found: found) }
    }
    try check(magic == expected.magic, .pageMagic, hex(expected.magic), hex(magic))
    try check(
      flags.isSubset(of: .all), .pageFlags, "known flags", hex(flags.rawValue))
    try check(
      flags.contains(.hasLongHeader) == expected.isFirstOfSegment, .pageFlags,
      expected.isFirstOfSegment ? "a long header" : "a short header", hex(flags.rawValue))
    if let segment { try validate(segment, expected) }
    try check(address == expected.address, .pageAddress, "\(expected.address)", "\(address)")
    if let wanted = expected.timeline {
      try check(
        timeline == wanted, .pageTimeline, "\(wanted.rawValue)", "\(timeline.rawValue)")
    } else if let least = expected.minimumTimeline {
      try check(
        timeline >= least, .pageTimeline, "at least \(least.rawValue)", "\(timeline.rawValue)")
    }
  }

  private func validate(_ segment: Segment, _ expected: Expectation) throws {
    if let wanted = expected.systemIdentifier, segment.systemIdentifier != wanted {
      throw FormatError(
        .systemIdentifier, lsn: expected.address, expected: "\(wanted)",
        found: "\(segment.systemIdentifier)")
    }
    guard UInt64(segment.segmentSize) == expected.segmentSize else {
      throw FormatError(
        .segmentSize, lsn: expected.address, expected: "\(expected.segmentSize)",
        found: "\(segment.segmentSize)")
    }
    guard segment.blockSize == UInt32(PostgresLayout.walBlockSize) else {
      throw FormatError(
        .walBlockSize, lsn: expected.address, expected: "\(PostgresLayout.walBlockSize)",
        found: "\(segment.blockSize)")
    }
  }
}
