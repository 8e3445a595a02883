import Synchronization
import Volume

/// Finds out which files are read in order, and which blocks of them to make next.
///
/// ## Purpose
/// The records of neighbouring blocks lie scattered over the WAL. Whoever looks for those of a megabyte at a time
/// decompresses most of the WAL for each; a reader that goes on gets lots that grow, the next one begun while it
/// reads.
///
/// ## State and invariants
/// 1. A file has at most one lot that is being made, and remembers the one before it.
/// 2. A lot is at most ``growth`` times as long as what was read in order before it.
///
/// ## Concurrency
/// Any thread.
final class SequentialReads: Sendable {
  private struct Reader {
    /// Behind the last read that went on in order.
    var next: UInt32
    /// Blocks that were read in order.
    var length: UInt32
    /// Reads elsewhere since.
    var strays = 0
    var lots: [PageLot] = []
  }

  /// What a read is to do.
  struct Answer {
    /// Makes pages of the read, or has.
    var lot: PageLot?
    /// The read goes on in order: the lot will come to it soon.
    var isInOrder = false
    /// To be made by a thread of its own.
    var isNew = false
    /// The one after it, to be made as well.
    var following: PageLot?
  }

  private let readers = Mutex<[FileID: Reader]>([:])

  /// Blocks in order before a first lot.
  static let patience: UInt32 = 256
  static let growth: UInt32 = 4
  /// Blocks of a lot at most; its records are bounded too (``PageMaker/recordLimit``).
  static let most: UInt32 = 65_536
  /// The kernel's reads ahead come by several threads, not strictly in order.
  private static let slack: UInt32 = 256
  /// Reads elsewhere after which a file counts as one that is not read in order any more.
  private static let strayLimit = 64

  /// Notes a read.
  /// - Parameter end: blocks of the file.
  func note(_ file: FileID, _ blocks: Range<UInt32>, end: UInt32) -> Answer {
    readers.withLock { readers in
      guard var reader = readers[file] else {
        readers[file] = Reader(next: blocks.upperBound, length: UInt32(blocks.count))
        return Answer()
      }
      defer { readers[file] = reader }
      return SequentialReads.note(&reader, blocks, end)
    }
  }

  private static func note(
    _ reader: inout Reader, _ blocks: Range<UInt32>, _ end: UInt32
  ) -> Answer {
    let lot = reader.lots.last { $0.blocks.contains(blocks.lowerBound) }
    let first = reader.next < slack ? 0 : reader.next - slack
    guard blocks.lowerBound >= first, blocks.lowerBound - first <= 2 * slack else {
      // A reader that waits for a lot makes no reads: others say nothing of it then.
      if reader.lots.allSatisfy(\.isDone) { reader.strays += 1 }
      if reader.strays > strayLimit {
        reader = Reader(next: blocks.upperBound, length: UInt32(blocks.count))
      }
      return Answer(lot: lot)
    }
    reader.strays = 0
    reader.length += UInt32(blocks.count)
    reader.next = max(reader.next, blocks.upperBound)
    if let lot {
      return Answer(lot: lot, isInOrder: true, following: following(lot, &reader, blocks, end))
    }
    guard reader.length >= patience, reader.lots.allSatisfy(\.isDone) else { return Answer() }
    let start = blocks.lowerBound
    let new = PageLot(start..<min(end, start + growth * patience))
    reader.lots = reader.lots.suffix(1) + [new]
    return Answer(lot: new, isInOrder: true, isNew: true)
  }

  /// The next lot, once the reader has come to the middle of the last one and that is made.
  private static func following(
    _ lot: PageLot, _ reader: inout Reader, _ blocks: Range<UInt32>, _ end: UInt32
  ) -> PageLot? {
    let length = UInt32(lot.blocks.count)
    guard lot === reader.lots.last, lot.isDone, lot.blocks.upperBound < end,
      blocks.upperBound - lot.blocks.lowerBound >= length / 2
    else { return nil }
    let start = lot.blocks.upperBound
    let next = PageLot(start..<start + min(end - start, most, growth * length))
    reader.lots = [lot, next]
    return next
  }
}
