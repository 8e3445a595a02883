import PostgresFormat

/// The blocks that records of a range touch, merged from the indices of its chunks.
///
/// Holds one decoded part of each chunk.
struct TouchedBlocks {
  private let range: Range<LSN>
  private let cache: ChainCache
  /// A heap by the cursors' keys.
  private var cursors: [Cursor] = []
  private var last: BlockKey?

  /// A place in one chunk's index.
  private struct Cursor {
    let chunk: ChainSnapshot.Chunk
    let end: LSN
    var number: Int
    var part: BlockIndexPart
    var group = 0
    var run = 0
    var key: BlockKey
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
      if try advance(&cursor) { push(cursor) }
    }
  }

  /// The next key, each one once.
  mutating func next() throws -> BlockKey? {
    while let top = cursors.first {
      var cursor = top
      if try advance(&cursor) {
        cursors[0] = cursor
        siftDown()
      } else {
        let end = cursors.removeLast()
        if !cursors.isEmpty {
          cursors[0] = end
          siftDown()
        }
      }
      if last.map({ $0 < top.key }) ?? true {
        last = top.key
        return top.key
      }
    }
    return nil
  }

  /// Moves to the next run that has a record in the range; false at the end.
  private func advance(_ cursor: inout Cursor) throws -> Bool {
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

  // MARK: Heap

  private mutating func push(_ cursor: Cursor) {
    cursors.append(cursor)
    var child = cursors.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard cursors[child].key < cursors[parent].key else { return }
      cursors.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func siftDown() {
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < cursors.count {
        if cursors[child].key < cursors[least].key { least = child }
      }
      if least == parent { return }
      cursors.swapAt(parent, least)
      parent = least
    }
  }
}
