import PostgresFormat

/// The records that bring a block to a moment, oldest first.
public struct PageChain: Sendable {
  /// What the block is before the first of ``records``.
  public enum Origin: Hashable, Sendable {
    /// What the image at the range's beginning holds.
    case base
    /// Nothing: the first record makes the page.
    case firstRecord
    /// The block went away in the range (or its file did): without records it is not there at the
    /// range's end, with records it begins as zeros.
    case removed
  }

  /// What a record does to the block.
  public enum Effect: Hashable, Sendable {
    /// Postgres's redo of the record changes the block.
    case redo
    /// A truncation that leaves this block of the visibility map as the last one: the bits of heap
    /// blocks from this one on are cleared, the page's LSN stays. Not done by redo of the block.
    case clearsMap(fromHeapBlock: UInt32)
  }

  public struct Record: Hashable, Sendable {
    public var startLSN: LSN
    /// Where the next record may begin, as ``WALRecordView/endLSN``.
    public var endLSN: LSN
    /// In ``PageChain/bytes``.
    public var range: Range<Int>
    public var effect: Effect
  }

  public internal(set) var origin: Origin
  public internal(set) var records: [Record] = []
  /// The records' bytes without page headers; each record's CRC was verified.
  public internal(set) var bytes: [UInt8] = []

  public var startsFromBase: Bool { origin == .base }

  /// Bytes that are reserved for a record: what changes of small rows take.
  private static let usualRecordLength = 96

  /// - Parameter expectedRecords: memory is reserved for so many of a usual length.
  init(origin: Origin, expectedRecords: Int = 0) {
    self.origin = origin
    records.reserveCapacity(expectedRecords)
    bytes.reserveCapacity(expectedRecords * PageChain.usualRecordLength)
  }
}
