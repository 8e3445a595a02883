import Foundation
import PostgresFormat
import TestSupport

@testable import PageRedo

/// A little pgbench, made once for all tests that need real pages and records.
final class SmallHistory: Sendable {
  let history: PageHistory
  /// Pages with few records, for which replay's page is known.
  let targets: [PageTarget]
  /// The page with most records.
  let hottest: PageTarget
  private let before: [PageTarget: [UInt8]]
  private let after: [PageTarget: [UInt8]]

  private static let shared = Task { try await SmallHistory() }
  static func get() async throws -> SmallHistory { try await shared.value }

  private init() async throws {
    let pages = try await withTemporaryDirectory { directory in
      let oracle = try await SmallHistory.makeOracle(in: directory)
      var before: [PageTarget: [UInt8]] = [:]
      var after: [PageTarget: [UInt8]] = [:]
      for target in oracle.history.judged {
        before[target] = oracle.before.page(target)
        after[target] = oracle.after.page(target)
      }
      return (oracle.history, before, after)
    }
    (history, before, after) = pages
    let there = history.judged.filter { pages.2[$0] != nil }
    targets = there.filter { pages.0.chains[$0]!.records.count < 400 }
    hottest = there.max { pages.0.chains[$0]!.records.count < pages.0.chains[$1]!.records.count }!
  }

  private static func makeOracle(in directory: String) async throws -> PageOracle {
    try await PageOracle.make(
      in: directory, settings: ["full_page_writes=off", "autovacuum=off"],
      prepare: { server in
        try server.pgbench(["-i", "-q", "-s", "1"])
        try server.psql(
          """
          CREATE TABLE item (id int, tags int[], spot point);
          CREATE INDEX ON item USING gin (tags); CREATE INDEX ON item USING gist (spot);
          CREATE INDEX ON item USING hash (id); CREATE INDEX ON item USING spgist (spot);
          CREATE INDEX ON item USING brin (id)
          """)
      },
      work: { server in
        try server.pgbench(["-c", "2", "-t", "300", "-n"])
        try server.psql(
          """
          INSERT INTO item SELECT n, ARRAY[n % 7, n % 31], point(n % 50, n % 70)
            FROM generate_series(1, 3000) n;
          DELETE FROM item WHERE id % 3 = 0; VACUUM item; VACUUM pgbench_tellers
          """)
      })
  }

  func append(_ target: PageTarget, to batch: RedoBatch) throws {
    try history.append(target, base: before[target], to: batch)
  }

  func request(_ target: PageTarget) -> PageRedoRequest {
    let chain = history.chains[target]!
    return PageRedoRequest(
      target: target, base: chain.startsEmpty ? nil : before[target],
      records: chain.records.map { index in
        let record = history.records[index]
        return RedoRecord(
          startLSN: record.start, endLSN: record.end,
          bytes: Array(history.bytes[record.offset..<(record.offset + record.length)]))
      })
  }

  func expected(_ target: PageTarget) -> [UInt8] { after[target]! }

  /// The first request that is as wanted.
  func request(where isWanted: (PageRedoRequest) -> Bool) -> PageRedoRequest? {
    targets.lazy.map { self.request($0) }.first(where: isWanted)
  }
}
