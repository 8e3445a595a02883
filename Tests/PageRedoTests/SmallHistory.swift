import Foundation
import PostgresFormat
import TestSupport

@testable import PageRedo

/// A little pgbench, made once for all tests that need real pages and records.
final class SmallHistory: @unchecked Sendable {
  let oracle: PageOracle
  /// Pages with few records, for which replay's page is known.
  let targets: [PageTarget]

  private static let shared = Task { try await SmallHistory() }
  static func get() async throws -> SmallHistory { try await shared.value }

  private init() async throws {
    let kept = OracleBox()
    try await withTemporaryDirectory { directory in
      let oracle = try await PageOracle.make(
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
      // The files stay open when the directory is gone.
      for target in oracle.history.judged {
        _ = oracle.before.page(target)
        _ = oracle.after.page(target)
      }
      kept.oracle = oracle
    }
    oracle = kept.oracle!
    targets = oracle.history.judged.filter { [oracle] target in
      oracle.after.page(target) != nil && oracle.history.chains[target]!.records.count < 400
    }
  }

  func append(_ target: PageTarget, to batch: RedoBatch) throws {
    try oracle.history.append(target, base: oracle.before.page(target), to: batch)
  }

  func request(_ target: PageTarget) -> PageRedoRequest {
    let chain = oracle.history.chains[target]!
    return PageRedoRequest(
      target: target, base: chain.startsEmpty ? nil : oracle.before.page(target),
      records: chain.records.map { index in
        let record = oracle.history.records[index]
        return RedoRecord(
          startLSN: record.start, endLSN: record.end,
          bytes: Array(oracle.history.bytes[record.offset..<(record.offset + record.length)]))
      })
  }

  func expected(_ target: PageTarget) -> [UInt8] { oracle.after.page(target)! }

  /// The first request that is as wanted.
  func request(where isWanted: (PageRedoRequest) -> Bool) -> PageRedoRequest? {
    targets.lazy.map { self.request($0) }.first(where: isWanted)
  }
}

/// Carries the oracle out of the closure that made it.
private final class OracleBox: @unchecked Sendable { var oracle: PageOracle? }
