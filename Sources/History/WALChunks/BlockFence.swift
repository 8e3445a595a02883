import PostgresFormat

/// The first key of each part of a chunk's block index: small, kept in memory.
struct BlockFence: Hashable, Sendable {
  var firstKeys: [BlockKey]
  /// Blocks of records, all parts together.
  var entryCount: UInt64

  init(firstKeys: [BlockKey], entryCount: UInt64) {
    self.firstKeys = firstKeys
    self.entryCount = entryCount
  }

  /// The parts that can hold a key: usually one, more where a hot block fills several.
  func parts(holding key: BlockKey) -> Range<Int> {
    let low = partition { $0 < key }
    let high = partition { $0 <= key }
    return max(low - 1, 0)..<high
  }

  /// The first key of which `isBefore` is false.
  private func partition(_ isBefore: (BlockKey) -> Bool) -> Int {
    var (low, high) = (0, firstKeys.count)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(firstKeys[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  var encoded: [UInt8] {
    var writer = BinaryWriter()
    writer.append(varint: entryCount)
    writer.append(varint: UInt64(firstKeys.count))
    for key in firstKeys {
      key.relation.encode(to: &writer)
      writer.append(key.block)
    }
    return writer.bytes
  }

  init(encoded: [UInt8], key: String) throws {
    self = try BinaryReader.decode(encoded, key: key, operation: "read fence of") { reader in
      var fence = BlockFence(firstKeys: [], entryCount: try reader.readVarint())
      for _ in 0..<(try reader.readCount(minimumSize: RelationFork.encodedSize + 4)) {
        let relation = try RelationFork(from: &reader)
        let key = BlockKey(relation.locator, relation.fork, block: try reader.read())
        if let last = fence.firstKeys.last, last > key { throw reader.malformed("keys in order") }
        fence.firstKeys.append(key)
      }
      return fence
    }
  }
}
