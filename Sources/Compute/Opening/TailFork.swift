import PostgresFormat
import Volume

/// A point of the tail before which a block's content does not count any more; the same places that
/// the block index of WAL chunks keeps.
struct TailCut: Hashable, Sendable {
  /// Where the record begins that made or shortened the file.
  var lsn: LSN
  /// Blocks from here on hold nothing of what was written before.
  var firstBlock: UInt32
}

/// One fork of a relation while a tail is read: what replay would have left of it so far.
struct TailFork {
  let key: RelationFork
  /// Whether its first file exists.
  var exists = false
  /// Length as `mdnblocks` would find it.
  var blocks: UInt32 = 0
  /// Files, the emptied ones behind the fork's end included: `mdtruncate` keeps those.
  var segmentCount: UInt32 = 0
  /// Entries of the image's tree, by segment.
  var imageEntries: [UInt32: Int] = [:]
  /// In ascending order of LSN and of block: a cut takes away those above it.
  var cuts: [TailCut] = []
  /// References that found no page; each must be explained by a drop or truncation further on.
  var unexplained: [UInt32: LSN] = [:]

  init(key: RelationFork) { self.key = key }

  /// Takes a file of the image.
  mutating func adopt(segment: UInt32, entry: Int) { imageEntries[segment] = entry }

  /// Computes the length from the image's files, as `mdnblocks` walks them.
  mutating func measure(_ sizeOf: (Int) -> UInt64) {
    exists = imageEntries[0] != nil
    var segment: UInt32 = 0
    while segment <= UInt32.max / PostgresLayout.blocksPerSegment, let entry = imageEntries[segment]
    {
      let count = UInt32(
        min(sizeOf(entry) / UInt64(blockSize), UInt64(PostgresLayout.blocksPerSegment)))
      if blocks == segment * PostgresLayout.blocksPerSegment { blocks += count }
      segment += 1
    }
    segmentCount = segment
  }

  /// As `mdcreate` in replay: nothing where the file exists.
  mutating func create(at lsn: LSN) {
    guard !exists else { return }
    exists = true
    segmentCount = max(segmentCount, 1)
    cut(to: 0, at: lsn)
  }

  /// As reading a block for replay with a mode that may extend.
  mutating func extend(toInclude block: UInt32) {
    guard block >= blocks else { return }
    blocks = block == .max ? block : block + 1
    segmentCount = max(segmentCount, block / PostgresLayout.blocksPerSegment + 1)
  }

  /// As `mdtruncate`: never longer than before.
  mutating func truncate(to count: UInt32, at lsn: LSN) {
    cut(to: count, at: lsn)
    blocks = min(blocks, count)
    unexplained = unexplained.filter { $0.key < count }
  }

  /// As `mdunlink` in replay: all segments.
  mutating func drop() {
    self = TailFork(key: key)
  }

  private mutating func cut(to block: UInt32, at lsn: LSN) {
    while let last = cuts.last, last.firstBlock >= block { cuts.removeLast() }
    cuts.append(TailCut(lsn: lsn, firstBlock: block))
  }

  /// Blocks of a segment's file.
  func blocks(ofSegment segment: UInt32) -> UInt32 {
    let first = segment * PostgresLayout.blocksPerSegment
    return blocks <= first ? 0 : min(blocks - first, PostgresLayout.blocksPerSegment)
  }
}

/// The blocks that were named last, as far as a bounded table tells.
///
/// Each block has one place in it, which the last block to come there holds.
struct RecentBlocks {
  private struct Place {
    var fork: Int32 = -1
    var block: UInt32 = 0
    var turn: UInt64 = 0
  }
  private var places: [Place]
  private let mask: Int
  private var turn: UInt64 = 0

  /// - Parameter limit: rounded up to a power of two.
  init(limit: Int) {
    var size = 1
    while size < limit { size *= 2 }
    places = Array(repeating: Place(), count: size)
    mask = size - 1
  }

  @inline(__always)
  mutating func note(fork: Int, block: UInt32) {
    turn += 1
    let mixed = (UInt64(block) &+ UInt64(fork) &<< 32) &* 0x9E37_79B9_7F4A_7C15
    places[Int(truncatingIfNeeded: mixed >> 40) & mask] = Place(
      fork: Int32(truncatingIfNeeded: fork), block: block, turn: turn)
  }

  /// Newest first.
  var all: [(fork: Int, block: UInt32)] {
    places.filter { $0.fork >= 0 }.sorted { $0.turn > $1.turn }
      .map { (Int($0.fork), $0.block) }
  }
}
