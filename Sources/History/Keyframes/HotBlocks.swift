import PostgresFormat

/// The blocks of main forks that most records touched since the newest complete layer.
///
/// Purpose: pages whose chains get long get images of their own in partial layers. State: a bounded table;
/// where it is full the blocks with the fewest records are forgotten, so that one that comes again is counted
/// too low, and a block that is among the busiest is never missed for long. Not durable.
struct HotBlocks: Sendable {
  /// About 1 MiB.
  static let capacity = 16_384
  private(set) var counts: [BlockKey: UInt32] = [:]

  mutating func add(_ records: BlockRecords) {
    let isMain = records.relations.map { $0.fork == .main }
    for entry in records.entries where isMain[Int(entry.slot)] {
      let key = BlockKey(records.relations[Int(entry.slot)].locator, block: entry.block)
      counts[key, default: 0] += 1
      if counts.count > HotBlocks.capacity { forgetColdest() }
    }
  }

  private mutating func forgetColdest() {
    let median = counts.values.sorted()[counts.count / 2]
    counts = counts.filter { $0.value > median }
  }

  /// - Returns: blocks of at least `count` records, those with most first, at most `limit`.
  func blocks(atLeast count: UInt32, limit: Int) -> [BlockKey] {
    counts.filter { $0.value >= count }
      .sorted { ($1.value, $0.key) < ($0.value, $1.key) }
      .prefix(limit).map(\.key)
  }
}
