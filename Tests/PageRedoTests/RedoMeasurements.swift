import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import PageRedo

/// How fast workers are, on real pages. `EXZO_BENCH=1 FILTER=RedoMeasurements make test` prints.
@Suite(
  .serialized, .heavy, .needsPostgres(),
  .enabled(if: ProcessInfo.processInfo.environment["EXZO_BENCH"] != nil, "set EXZO_BENCH=1"))
struct RedoMeasurements {
  @Test func chainsOfTenRecordsAndAHotPage() async throws {
    try await withTemporaryDirectory { directory in
      let oracle = try await PageOracle.make(
        in: directory, settings: ["full_page_writes=off", "autovacuum=off"],
        prepare: { try $0.pgbench(["-i", "-q", "-s", "4"]) },
        work: { try $0.pgbench(["-c", "4", "-j", "2", "-t", "15000", "-n"]) })
      try withPool(workers: 1) { pool in
        try measureStart()
        try measureShortChains(oracle, pool)
        try measureSinglePages(oracle, pool)
        try measureHotPage(oracle, pool)
      }
    }
  }

  private func load() -> String {
    // A machine without /proc/loadavg prints no load.
    let text = (try? String(contentsOfFile: "/proc/loadavg", encoding: .utf8)) ?? "?"
    return "load \(text.prefix { $0 != " " })"
  }

  private func seconds(_ body: () throws -> Void) rethrows -> Double {
    let clock = ContinuousClock()
    let time = try clock.measure(body).components
    return Double(time.seconds) + Double(time.attoseconds) / 1e18
  }

  private func measureStart() throws {
    var best = Double.infinity
    for _ in 1...5 {
      let pool = try makePool(workers: 1)
      let request = PageRedoRequest(
        target: PageTarget(
          locator: RelFileLocator(tablespace: 1663, database: 5, relation: 1), fork: .main,
          block: 0), base: nil, records: [])
      best = min(best, try seconds { _ = try pool.redo([request]) })
      pool.stop()
    }
    print("worker start and first answer: \(Int(best * 1000)) ms (best of 5, \(load()))")
  }

  private func measureShortChains(_ oracle: PageOracle, _ pool: RedoPool) throws {
    let batch = RedoBatch(capacity: 256 << 20)
    var records = 0
    for target in oracle.history.judged {
      guard let base = oracle.before.page(target) else { continue }
      base.withUnsafeBytes { _ = batch.begin(target, base: $0) }
      for index in oracle.history.chains[target]!.records.prefix(10) {
        try oracle.history.append(record: index, to: batch)
        records += 1
      }
    }
    var best = Double.infinity
    for _ in 1...3 {
      let copy = RedoBatch(capacity: 256 << 20)
      copy.take(copyOf: batch)
      best = min(best, try seconds { try pool.redo(copy) })
      for index in 0..<copy.count {
        if case .failed(let error) = copy.outcome(of: index) { Issue.record("\(error)") }
      }
    }
    print(
      "\(batch.count) pages, \(records) records (at most 10 each), one worker: "
        + "\(Int(Double(batch.count) / best)) pages/s, \(Int(Double(records) / best)) records/s "
        + "(best of 3, \(load()))")
  }

  private func measureSinglePages(_ oracle: PageOracle, _ pool: RedoPool) throws {
    let targets = oracle.history.judged.filter {
      oracle.before.page($0) != nil && oracle.history.chains[$0]!.records.count <= 10
    }.prefix(2000)
    let batch = RedoBatch()
    let time = try seconds {
      for target in targets {
        batch.removeAll()
        try oracle.history.append(target, base: oracle.before.page(target), to: batch)
        try pool.redo(batch)
      }
    }
    print(
      "single pages, one after the other: \(Int(time / Double(targets.count) * 1e6)) µs each "
        + "(\(load()))")
  }

  private func measureHotPage(_ oracle: PageOracle, _ pool: RedoPool) throws {
    let history = oracle.history
    let hot = history.judged.max {
      history.chains[$0]!.records.count < history.chains[$1]!.records.count
    }!
    let batch = RedoBatch()
    try history.append(hot, base: oracle.before.page(hot), to: batch)
    let time = try seconds { try pool.redo(batch) }
    #expect(batch.page(of: 0).elementsEqual(oracle.after.page(hot)!))
    print(
      "hot page, \(history.chains[hot]!.records.count) records, \(batch.byteCount >> 10) KiB: "
        + "\(Int(time * 1000)) ms (\(load()))")
  }
}
