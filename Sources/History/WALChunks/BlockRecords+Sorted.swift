import PostgresFormat

extension BlockRecords {
  /// An entry with its relation's rank among the sorted relations in the key's upper half.
  struct SortedEntry: Sendable {
    var key: UInt64
    var position: BlockPosition
    var block: UInt32 { UInt32(truncatingIfNeeded: key) }
    var rank: Int { Int(key >> 32) }
  }

  /// The relations in order, and the entries by relation, block and position; a record that
  /// touches a block in two ways is one entry.
  func sorted() -> (relations: [RelationFork], entries: [SortedEntry]) {
    let order = relations.indices.sorted { relations[$0] < relations[$1] }
    var ranks = [UInt64](repeating: 0, count: relations.count)
    for (rank, slot) in order.enumerated() { ranks[slot] = UInt64(rank) << 32 }
    var sorted = entries.map {
      SortedEntry(key: ranks[Int($0.slot)] | UInt64($0.block), position: $0.position)
    }
    if sorted.count < 1024 {
      sorted.sort { $0.key == $1.key ? $0.position < $1.position : $0.key < $1.key }
    } else {
      radixSort(&sorted)
    }
    mergeDoubles(&sorted)
    return (order.map { relations[$0] }, sorted)
  }

  /// Stable, so that the entries of a block stay in WAL order; 11 bits a pass, and no pass for bits
  /// in which no two keys differ.
  private func radixSort(_ entries: inout [SortedEntry]) {
    let differing = entries.reduce(0) { $0 | ($1.key ^ entries[0].key) }
    var target = entries
    for shift in stride(from: UInt64(0), to: 64, by: 11) where differing >> shift & 0x7FF != 0 {
      var places = [Int](repeating: 0, count: 2048)
      entries.withUnsafeBufferPointer { source in
        target.withUnsafeMutableBufferPointer { target in
          places.withUnsafeMutableBufferPointer { places in
            for entry in source { places[Int(entry.key >> shift & 0x7FF)] += 1 }
            var sum = 0
            for digit in 0..<2048 { (places[digit], sum) = (sum, sum + places[digit]) }
            for entry in source {
              let digit = Int(entry.key >> shift & 0x7FF)
              target[places[digit]] = entry
              places[digit] += 1
            }
          }
        }
      }
      swap(&entries, &target)
    }
  }

  private func mergeDoubles(_ entries: inout [SortedEntry]) {
    var kept = 0
    for index in entries.indices {
      let entry = entries[index]
      if kept > 0, entries[kept - 1].key == entry.key,
        entries[kept - 1].position.units == entry.position.units
      {
        // The flag is the lowest bit: the larger one has it if either has.
        entries[kept - 1].position = max(entries[kept - 1].position, entry.position)
      } else {
        entries[kept] = entry
        kept += 1
      }
    }
    entries.removeLast(entries.count - kept)
  }
}
