import PostgresFormat

/// The block indices of neighbouring chunks as one, run by run.
///
/// Holds a decoded part of each, and some stored ones.
struct BlockIndexMerge {
  /// Records of one block: all of them, or as many as a run may have.
  struct Run {
    var relation: RelationFork
    var block: UInt32
    /// Counted from the base that was given.
    var positions: [BlockPosition]
  }

  /// A place in one chunk's index.
  private struct Cursor: Comparable {
    let chunk: OpenWALChunk
    /// In the list of chunks: of one block, the older chunk's records come first.
    let place: Int
    /// What its positions grow by.
    let shift: UInt32
    var stored: StoredParts
    /// In the fence.
    var number = -1
    var part: BlockIndexPart?
    var group = 0
    var run = 0
    var key: BlockKey

    static func < (a: Cursor, b: Cursor) -> Bool {
      a.key == b.key ? a.place < b.place : a.key < b.key
    }
    static func == (a: Cursor, b: Cursor) -> Bool { a.key == b.key && a.place == b.place }
  }

  private var cursors = MergeHeap<Cursor>()
  private let sources: [OpenWALChunk]
  private let base: LSN
  private var isBegun = false
  /// Of a block whose records did not fit into the run given last.
  private var rest: (key: BlockKey, positions: [BlockPosition])?
  /// Positions given out.
  private(set) var entryCount: UInt64 = 0

  private static let readSize: UInt64 = 128 << 10

  /// - Parameter sources: all have an index.
  /// - Parameter base: what the result's positions count from.
  init(_ sources: [OpenWALChunk], base: LSN) {
    self.sources = sources
    self.base = base
  }

  /// The next run; `nil` at the end.
  mutating func next() throws -> Run? {
    if !isBegun { try begin() }
    var (key, positions) = (BlockKey?.none, [BlockPosition]())
    if let rest { (key, positions) = (rest.key, rest.positions) }
    rest = nil
    while let top = cursors.first, key == nil || top.key == key,
      positions.count < BlockRecords.runLength
    {
      key = top.key
      for position in top.part!.positions(ofRun: top.run) {
        positions.append(position.advanced(by: top.shift))
      }
      try cursors.advanceFirst(Self.advance)
    }
    guard let key else { return nil }
    if positions.count > BlockRecords.runLength {
      rest = (key, Array(positions[BlockRecords.runLength...]))
      positions.removeLast(positions.count - BlockRecords.runLength)
    }
    entryCount += UInt64(positions.count)
    return Run(relation: key.relation, block: key.block, positions: positions)
  }

  private mutating func begin() throws {
    isBegun = true
    for (place, chunk) in sources.enumerated() {
      guard let first = chunk.index?.fence.firstKeys.first else { continue }
      var cursor = Cursor(
        chunk: chunk, place: place,
        shift: UInt32((chunk.summary.recordBase - base) / BlockRecords.unit),
        stored: StoredParts(chunk.envelope, limit: Self.readSize), key: first)
      if try Self.advance(&cursor) { cursors.push(cursor) }
    }
  }

  /// Moves to the next run; false at the end.
  private static func advance(_ cursor: inout Cursor) throws -> Bool {
    if cursor.part != nil { cursor.run += 1 }
    while true {
      if let part = cursor.part {
        while cursor.group < part.groups.count,
          cursor.run >= part.groups[cursor.group].runs.upperBound
        {
          cursor.group += 1
        }
        if cursor.group < part.groups.count {
          let relation = part.groups[cursor.group].relation
          cursor.key = BlockKey(relation.locator, relation.fork, block: part.blocks[cursor.run])
          return true
        }
      }
      guard try loadPart(&cursor) else { return false }
    }
  }

  private static func loadPart(_ cursor: inout Cursor) throws -> Bool {
    let parts = cursor.chunk.index!.parts
    cursor.number += 1
    let part = parts.lowerBound + cursor.number
    guard part < parts.upperBound else { return false }
    let chunk = cursor.chunk
    let plain = try cursor.stored.withPart(part, before: parts.upperBound) {
      try chunk.envelope.directory.plain(part, stored: $0)
    }
    cursor.part = try plain.withUnsafeBytes {
      try BlockIndexPart(encoded: $0, units: chunk.summary.recordUnits, key: chunk.key.name)
    }
    (cursor.group, cursor.run) = (0, 0)
    return true
  }
}
