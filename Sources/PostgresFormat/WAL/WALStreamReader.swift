/// What a reader wants after it has used the bytes that it was given.
public enum WALReadOutcome: Hashable, Sendable {
  /// Every byte was used and more are awaited at ``WALStreamReader/position``.
  case needsBytes
  /// The log stops here: zeros where a record, or the rest of one, should be. `at` is the end of
  /// the last whole record, or that plus a page header. Whoever knows that the log goes on to a
  /// later position must treat this as damage.
  case endOfWAL(at: LSN)
}

/// Cuts a write-ahead log into verified records as its bytes come in, in pieces of any size.
///
/// **Purpose.** The only place that knows how records lie in WAL pages. It verifies each page
/// header
/// (magic, flags, timeline, address; system identifier and sizes on a segment's first page) and
/// each
/// record (length, resource manager, previous link, CRC32C, structure) before anyone sees it.
///
/// **State and invariants.**
/// 1. `position` is the next byte wanted; bytes are taken strictly in order, none twice.
/// 2. Every byte below `lastRecordEnd` since the start is of a verified record or page header, or
///   is
///    padding. `lastRecordEnd` may lie above `position` by up to 7 bytes of padding, or by the rest
///    of
///    a segment after a switch; where `position` is above it, a record is not whole yet.
/// 3. After damage or the end of WAL the reader stays there until ``seek(toRecordAt:previous:)``
///    or ``seek(toPageAt:)``.
/// 4. When the closure throws, its record counts as read.
///
/// **Concurrency.** A value; copies are independent. **Not guarded here.** Whether the log is the
/// right one, unless a system identifier and timeline are given; bytes after a segment switch,
/// which
/// PostgreSQL ignores as well.
///
/// Source: `XLogReadRecord` and `XLogReaderValidatePageHeader` in `access/transam/xlogreader.c`.
public struct WALStreamReader: Sendable {
  public let format: PostgresMajor
  /// Bytes of a segment file.
  public let segmentSize: UInt64
  /// When set, the only timeline that page headers may name; otherwise they may only rise.
  public let expectedTimeline: TimelineID?
  /// When set, the identifier that each segment's first page must carry.
  public let systemIdentifier: UInt64?

  /// The next byte wanted.
  public internal(set) var position: LSN
  /// Where the last whole verified record ends, which is where the next begins but for a page
  /// header; at first the place where reading began.
  public internal(set) var lastRecordEnd: LSN
  /// Where the last whole verified record begins; nil while none is known.
  public internal(set) var lastRecordStart: LSN?
  /// The timeline that the newest page header names.
  public internal(set) var timeline: TimelineID?

  var phase: Phase
  /// Bytes below this are passed over: padding, the rest of a segment, a record's unwanted rest.
  var skipUntil: LSN
  var partialHeader: [UInt8] = []
  var assembly = Assembly()
  /// The record that a page header said was given up; the next record must name it.
  var overwrittenLSN: LSN?
  var scratch = [BlockReference](repeating: .empty, count: BlockReference.limit)

  enum Phase: Sendable {
    /// Passing over the rest of a record whose beginning is unknown.
    case searching
    case betweenRecords
    case assembling
    case ended(LSN)
    case failed(FormatError)
  }

  /// A record that does not lie in one piece in the bytes given.
  struct Assembly: Sendable {
    var bytes: [UInt8] = []
    var start = LSN.invalid
    /// `xl_tot_len`; nil until its four bytes are there.
    var total: Int?
    var isHeaderChecked = false
    /// A buffer that grew beyond this is given back after use.
    static let keptCapacity = 1 << 20
  }

  /// A reader whose first byte is the beginning of a record, or the page header before one.
  ///
  /// - Parameters:
  ///   - start: a record boundary, such as a redo LSN or a ``WALRecordView/endLSN``.
  ///   - previous: where the record before `start` begins; nil leaves the first link unchecked.
  ///   - segmentSize: must satisfy ``WALSegment/isValidSize(_:)``.
  public init(
    format: PostgresMajor, startingAtRecord start: LSN, previous: LSN? = nil,
    segmentSize: UInt64 = WALSegment.defaultSize, timeline: TimelineID? = nil,
    systemIdentifier: UInt64? = nil
  ) {
    precondition(WALSegment.isValidSize(segmentSize), "WAL segment size")
    self.format = format
    self.segmentSize = segmentSize
    self.expectedTimeline = timeline
    self.systemIdentifier = systemIdentifier
    position = start
    lastRecordEnd = start
    lastRecordStart = previous
    skipUntil = start
    phase = .betweenRecords
  }

  /// A reader that finds the first record that begins on or after the page at `page`.
  ///
  /// - Parameter page: a multiple of 8192.
  public init(
    format: PostgresMajor, startingAtPage page: LSN,
    segmentSize: UInt64 = WALSegment.defaultSize, timeline: TimelineID? = nil,
    systemIdentifier: UInt64? = nil
  ) {
    self.init(
      format: format, startingAtRecord: page, segmentSize: segmentSize, timeline: timeline,
      systemIdentifier: systemIdentifier)
    seek(toPageAt: page)
  }

  /// Whether no record boundary is known yet, as after ``seek(toPageAt:)``.
  public var isSearching: Bool {
    if case .searching = phase { true } else { false }
  }

  /// Forgets what is half read and goes on at a record boundary.
  public mutating func seek(toRecordAt start: LSN, previous: LSN? = nil) {
    reset(to: start, phase: .betweenRecords)
    lastRecordStart = previous
  }

  /// Forgets what is half read and goes on at the first record that begins on or after a page.
  ///
  /// Until it is found, ``isSearching`` holds and ``lastRecordEnd`` is the page's start.
  public mutating func seek(toPageAt page: LSN) {
    precondition(page.pageStart == page, "not a WAL page boundary")
    reset(to: page, phase: .searching)
  }

  private mutating func reset(to start: LSN, phase: Phase) {
    self.phase = phase
    position = start
    lastRecordEnd = start
    lastRecordStart = nil
    timeline = nil
    skipUntil = start
    partialHeader.removeAll(keepingCapacity: true)
    assembly.clear()
    overwrittenLSN = nil
  }
}

extension WALStreamReader.Assembly {
  mutating func clear() {
    bytes.removeAll(keepingCapacity: bytes.capacity <= Self.keptCapacity)
    total = nil
    isHeaderChecked = false
  }
}
