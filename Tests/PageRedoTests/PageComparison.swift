import PostgresFormat

@testable import PageRedo

/// Every changed page of a ``PageOracle``, made by a pool and compared with replay's, byte for byte.
struct PageComparison {
  var compared = 0
  /// Pages that replay does not have in the end, as when their relation was dropped by a database.
  var gone = 0
  var records = 0
  var longestChain = 0
  /// How many pages have records of each resource manager.
  var managers: [String: Int] = [:]
  var forks: [String: Int] = [:]
  var differences: [String] = []
  private let options: PageOptions

  init(_ oracle: PageOracle, _ pool: RedoPool, options: PageOptions = .checksums) throws {
    self.options = options
    let batch = RedoBatch()
    var targets: [PageTarget] = []
    for target in oracle.history.judged {
      guard oracle.after.page(target) != nil else {
        gone += 1
        continue
      }
      note(oracle.history, target)
      try oracle.history.append(
        target, base: oracle.before.page(target), to: batch, options: options)
      targets.append(target)
      if batch.byteCount > 64 << 20 { try judge(oracle, pool, batch, &targets) }
    }
    try judge(oracle, pool, batch, &targets)
  }

  private mutating func note(_ history: PageHistory, _ target: PageTarget) {
    let chain = history.chains[target]!.records
    records += chain.count
    longestChain = max(longestChain, chain.count)
    forks[target.fork.name, default: 0] += 1
    for manager in Set(chain.map { history.records[$0].manager }) {
      managers[manager.name, default: 0] += 1
    }
  }

  private mutating func judge(
    _ oracle: PageOracle, _ pool: RedoPool, _ batch: RedoBatch, _ targets: inout [PageTarget]
  ) throws {
    try pool.redo(batch)
    for (index, target) in targets.enumerated() {
      compared += 1
      if case .failed(let error) = batch.outcome(of: index) {
        differences.append(error.description)
        continue
      }
      let made = batch.page(of: index)
      let expected = oracle.after.page(target)!
      // Without checksums the field is whatever the base page held.
      let ignored = options.contains(.storesChecksum) ? 0..<0 : 8..<10
      let first = (0..<made.count).first { !ignored.contains($0) && made[$0] != expected[$0] }
      if let first {
        let end = oracle.history.chains[target]!.records.last!
        differences.append(
          "\(target): byte \(first) is \(made[first]), not \(expected[first]); last record "
            + "\(oracle.history.records[end].manager.name) \(oracle.history.records[end].start)")
      }
    }
    batch.removeAll()
    targets.removeAll()
  }

  var summary: String {
    func list(_ counts: [String: Int]) -> String {
      counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }
    return """
      \(compared) pages (\(list(forks))), \(records) records, longest chain \(longestChain), \
      \(differences.count) different, \(gone) gone; pages by resource manager: \(list(managers))
      """ + differences.prefix(20).map { "\n  \($0)" }.joined()
  }
}
