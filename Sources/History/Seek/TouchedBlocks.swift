import PostgresFormat

/// The blocks that records of a range touch, merged from the indices of its chunks.
///
/// Holds one decoded part of each chunk.
struct TouchedBlocks {
  private let range: Range<LSN>
  private let cache: ChainCache
  private var cursors = MergeHeap<Cursor>()
  private var last: BlockKey?

  /// A place in one chunk's index.
  private struct Cursor: Comparable {
    let chunk: ChainSnapshot.Chunk
    let end: LSN
    var number: Int
    var part: BlockIndexPart
    var group = 0
    var run = 0
    var key: BlockKey

    static func < (a: Cursor, b: Cursor) -> Bool { a.key < b.key }
    static func == (a: Cursor, b: Cursor) -> Bool { a.key == b.key }
  }

  /// - Parameter after: where to go on.
  init(
    _ snapshot: ChainSnapshot, _ cache: ChainCache, _ range: Range<LSN>, after: BlockKey?
  ) throws {
    self.range = range
    self.cache = cache
    last = after
    for (place, piece) in snapshot.pieces.enumerated() {
      let end = min(piece.range.upperBound, range.upperBound)
      guard piece.range.upperBound > range.lowerBound, piece.range.lowerBound < end else {
        continue
      }
      let chunk = try snapshot.indexed(place, cache)
      guard let first = chunk.fence.firstKeys.first else { continue }
      let number = after.map { max(chunk.fence.parts(holding: $0).upperBound - 1, 0) } ?? 0
      var cursor = Cursor(
        chunk: chunk, end: end, number: number, part: try chunk.part(number, cache), run: -1,
        key: first)
      if try Self.advance(&cursor, range, cache) { cursors.push(cursor) }
    }
  }

  /// The next key, each one once.
  mutating func next() throws -> BlockKey? {
    while let top = cursors.first {
      let (range, cache) = (range, cache)
      try cursors.advanceFirst { try Self.advance(&$0, range, cache) }
      if last.map({ $0 < top.key }) ?? true {
        last = top.key
        return top.key
      }
    }
    return nil
  }

  /// Moves to the next run that has a record in the range; false at the end.
  private static func advance(
    _ cursor: inout Cursor, _ range: Range<LSN>, _ cache: ChainCache
  ) throws -> Bool {
    while true {
      cursor.run += 1
      while cursor.group < cursor.part.groups.count,
        cursor.run >= cursor.part.groups[cursor.group].runs.upperBound
      {
        cursor.group += 1
      }
      if cursor.group == cursor.part.groups.count {
        cursor.number += 1
        guard cursor.number < cursor.chunk.fence.firstKeys.count else { return false }
        cursor.part = try cursor.chunk.part(cursor.number, cache)
        cursor.group = 0
        cursor.run = -1
        continue
      }
      let isTouched = cursor.part.positions(ofRun: cursor.run).contains {
        let lsn = $0.lsn(base: cursor.chunk.base)
        return lsn >= range.lowerBound && lsn < cursor.end
      }
      guard isTouched else { continue }
      let relation = cursor.part.groups[cursor.group].relation
      cursor.key = BlockKey(
        relation.locator, relation.fork, block: cursor.part.blocks[cursor.run])
      return true
    }
  }
}
