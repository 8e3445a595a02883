import PostgresFormat

/// The parts of a chunk that say which records touch a block; docs/formats/wal-chunk.md.
struct EncodedBlockIndex {
  var parts: [[UInt8]] = []
  var fence: [UInt8] = []
  var cuts: [UInt8] = []
}

extension BlockRecords {
  /// A part is ended once it has this many bytes: what one look-up decompresses.
  /// Measured in docs/decisions/2026-11-25-block-index.md.
  static let partSize = 4 << 10
  /// Records of one block that are encoded together; a hotter block is repeated.
  static let runLength = 1024

  /// - Parameter base: the chunk's ``WALChunkSummary/firstRecordStart``; anything where no record
  ///   ends in it.
  func encoded(base: LSN, partSize: Int = BlockRecords.partSize) -> EncodedBlockIndex {
    precondition(self.base == nil || self.base == base, "records from another base")
    let (relations, entries) = sorted()
    var encoder = BlockIndexEncoder(partSize: partSize)
    var positions: [BlockPosition] = []
    var index = 0
    entries.withUnsafeBufferPointer { entries in
      while index < entries.count {
        var end = index + 1
        let limit = min(entries.count, index + BlockRecords.runLength)
        while end < limit, entries[end].key == entries[index].key { end += 1 }
        positions.removeAll(keepingCapacity: true)
        for entry in entries[index..<end] { positions.append(entry.position) }
        encoder.append(relations[entries[index].rank], block: entries[index].block, positions)
        index = end
      }
    }
    encoder.endPart()
    var result = EncodedBlockIndex()
    result.parts = encoder.takeParts()
    result.fence =
      BlockFence(firstKeys: encoder.firstKeys, entryCount: UInt64(entries.count)).encoded
    result.cuts = BlockCut.encode(
      cuts.sorted { ($0.locator, $0.lsn) < ($1.locator, $1.lsn) }, base: base)
    return result
  }
}

/// Writes runs of one block's records into parts.
struct BlockIndexEncoder {
  private let partSize: Int
  private var parts: [[UInt8]] = []
  private(set) var firstKeys: [BlockKey] = []
  private var writer = BinaryWriter()
  private var relation: RelationFork?
  private var block: UInt64 = 0

  init(partSize: Int) { self.partSize = partSize }

  /// Parts that have ended since the last call.
  mutating func takeParts() -> [[UInt8]] {
    defer { parts = [] }
    return parts
  }

  /// Runs come in ascending order of their blocks, those of one block in WAL order.
  /// - Parameter run: 1 to ``BlockRecords/runLength`` positions, ascending.
  mutating func append(_ relation: RelationFork, block next: UInt32, _ run: [BlockPosition]) {
    if writer.bytes.isEmpty {
      firstKeys.append(BlockKey(relation.locator, relation.fork, block: next))
    }
    if self.relation != relation {
      if self.relation != nil { writer.append(UInt8(0)) }
      relation.encode(to: &writer)
      self.relation = relation
      block = 0
    }
    let startsPage = run.contains { $0.startsPage }
    // Never 0, which ends the relation.
    let step = UInt64(next) - block + 1
    writer.append(varint: step << 2 | (startsPage ? 2 : 0) | (run.count > 1 ? 1 : 0))
    block = UInt64(next)
    if run.count > 1 { writer.append(varint: UInt64(run.count)) }
    if startsPage { appendStarts(run) }
    var previous: UInt32 = 0
    for position in run {
      writer.append(varint: UInt64(position.units - previous))
      previous = position.units
    }
    if writer.bytes.count >= partSize { endPart() }
  }

  private mutating func appendStarts(_ run: [BlockPosition]) {
    if run.count == 1 { return }
    for start in stride(from: 0, to: run.count, by: 8) {
      var bits: UInt8 = 0
      for index in start..<min(start + 8, run.count) where run[index].startsPage {
        bits |= 1 << UInt8(index - start)
      }
      writer.append(bits)
    }
  }

  mutating func endPart() {
    if writer.bytes.isEmpty { return }
    writer.append(UInt8(0))
    parts.append(writer.bytes)
    writer = BinaryWriter()
    relation = nil
  }
}
