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
    var encoder = BlockIndexEncoder(relations: relations, partSize: partSize)
    var index = 0
    entries.withUnsafeBufferPointer { entries in
      while index < entries.count {
        var end = index + 1
        let limit = min(entries.count, index + BlockRecords.runLength)
        while end < limit, entries[end].key == entries[index].key { end += 1 }
        encoder.append(UnsafeBufferPointer(rebasing: entries[index..<end]))
        index = end
      }
    }
    encoder.endPart()
    var result = EncodedBlockIndex()
    result.parts = encoder.parts
    result.fence =
      BlockFence(firstKeys: encoder.firstKeys, entryCount: UInt64(entries.count)).encoded
    result.cuts = BlockCut.encode(
      cuts.sorted { ($0.locator, $0.lsn) < ($1.locator, $1.lsn) }, base: base)
    return result
  }
}

/// Writes runs of one block's records into parts.
private struct BlockIndexEncoder {
  let relations: [RelationFork]
  let partSize: Int
  private(set) var parts: [[UInt8]] = []
  private(set) var firstKeys: [BlockKey] = []
  private var writer = BinaryWriter()
  private var rank: Int?
  private var block: UInt64 = 0

  init(relations: [RelationFork], partSize: Int) {
    self.relations = relations
    self.partSize = partSize
  }

  mutating func append(_ run: UnsafeBufferPointer<BlockRecords.SortedEntry>) {
    let first = run[0]
    if writer.bytes.isEmpty {
      let relation = relations[first.rank]
      firstKeys.append(BlockKey(relation.locator, relation.fork, block: first.block))
    }
    if rank != first.rank {
      if rank != nil { writer.append(UInt8(0)) }
      relations[first.rank].encode(to: &writer)
      rank = first.rank
      block = 0
    }
    let startsPage = run.contains { $0.position.startsPage }
    // Never 0, which ends the relation.
    let step = UInt64(first.block) - block + 1
    writer.append(varint: step << 2 | (startsPage ? 2 : 0) | (run.count > 1 ? 1 : 0))
    block = UInt64(first.block)
    if run.count > 1 { writer.append(varint: UInt64(run.count)) }
    if startsPage { appendStarts(run) }
    var previous: UInt32 = 0
    for entry in run {
      writer.append(varint: UInt64(entry.position.units - previous))
      previous = entry.position.units
    }
    if writer.bytes.count >= partSize { endPart() }
  }

  private mutating func appendStarts(_ run: UnsafeBufferPointer<BlockRecords.SortedEntry>) {
    if run.count == 1 { return }
    for start in stride(from: 0, to: run.count, by: 8) {
      var bits: UInt8 = 0
      for index in start..<min(start + 8, run.count) where run[index].position.startsPage {
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
    rank = nil
  }
}
