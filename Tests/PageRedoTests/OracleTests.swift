import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import PageRedo

/// Pages made by the pool, compared with those of the server that wrote the records.
@Suite(.serialized, .heavy, .needsPostgres()) struct OracleTests {
  /// With and without data checksums: then the LSNs of heap pages behave differently.
  @Test(arguments: [true, false])
  func everyPageOfEveryWorkloadIsTheServers(checksums: Bool) async throws {
    try await withTemporaryDirectory { directory in
      let oracle = try await makeWorkloadOracle(in: directory, checksums: checksums)
      let comparison = try withPool {
        try PageComparison(oracle, $0, options: checksums ? .checksums : [])
      }
      print("workloads, checksums \(checksums): \(comparison.summary)")
      #expect(comparison.differences.isEmpty, "\(comparison.differences.prefix(10))")
      #expect(comparison.compared > 1000)
      for manager in [
        "XLOG", "Heap", "Heap2", "Btree", "Gin", "Gist", "SPGist", "BRIN", "Hash", "Sequence",
        "Generic",
      ] {
        #expect(comparison.managers[manager, default: 0] > 0, "no page changed by \(manager)")
      }
    }
  }

  @Test func everyPageOfPgbenchIsTheServers() async throws {
    try await withTemporaryDirectory { directory in
      let oracle = try await PageOracle.make(
        in: directory, settings: ["full_page_writes=off", "autovacuum_naptime=1s"],
        prepare: { try $0.pgbench(["-i", "-q", "-s", "3"]) },
        work: { server in
          try server.pgbench(["-c", "4", "-j", "2", "-t", "2000", "-n"])
          try server.psql("VACUUM FREEZE pgbench_accounts")
        })
      let comparison = try withPool { try PageComparison(oracle, $0) }
      print("pgbench: \(comparison.summary)")
      #expect(comparison.differences.isEmpty, "\(comparison.differences.prefix(10))")
      #expect(comparison.compared > 1000)
      #expect(comparison.longestChain > 1000)
    }
  }

  /// Full-page images, compressed, come and go with checkpoints.
  @Test(arguments: ["pglz", "lz4", "zstd"])
  func compressedImagesAreRestored(method: String) async throws {
    try await withTemporaryDirectory { directory in
      let oracle = try await PageOracle.make(
        in: directory, settings: ["full_page_writes=on", "wal_compression=\(method)"],
        prepare: { try $0.pgbench(["-i", "-q", "-s", "1"]) },
        work: { server in
          for _ in 1...3 {
            try server.pgbench(["-c", "2", "-t", "300", "-n"])
            try server.psql("CHECKPOINT")
          }
        })
      let comparison = try withPool { try PageComparison(oracle, $0) }
      print("images \(method): \(comparison.summary)")
      #expect(comparison.differences.isEmpty, "\(comparison.differences.prefix(10))")
      #expect(comparison.compared > 100)
    }
  }

  private func makeWorkloadOracle(in directory: String, checksums: Bool) async throws -> PageOracle
  {
    try await PageOracle.make(
      in: directory,
      settings: Workloads.settings + [
        "full_page_writes=off", "autovacuum_naptime=1s", "autovacuum_vacuum_threshold=20",
        "autovacuum_vacuum_insert_threshold=50",
      ],
      checksums: checksums,
      prepare: { server in
        for workload in Workloads.all { try workload.prepare(on: server.connection) }
        try server.psql(OracleTests.bulk.preparation)
      },
      work: { server in
        let run = WorkloadRun(on: server.connection, seed: 3, workersEach: 1)
        let seconds = Double(ProcessInfo.processInfo.environment["EXZO_REDO_SECONDS"] ?? "8") ?? 8
        _ = try await run.run(Workloads.all, seconds: seconds)
        try server.psql(OracleTests.bulk.work)
        try server.psql("VACUUM")
      })
  }

  /// What the workloads lack: bulk loads, equal keys, index pages deleted and used again, generic
  /// records. Every kind of index is here too: when the workloads' last step was to rebuild theirs,
  /// nothing but images of those is left.
  private static let bulk = (
    preparation: """
    CREATE EXTENSION IF NOT EXISTS bloom;
    CREATE TABLE bulk (id int, same int, words tsvector, spot point);
    CREATE INDEX ON bulk (id); CREATE INDEX ON bulk (same); CREATE INDEX ON bulk USING bloom (id, same);
    CREATE INDEX ON bulk USING gin (words); CREATE INDEX ON bulk USING hash (id);
    CREATE INDEX ON bulk USING gist (spot); CREATE INDEX ON bulk USING spgist (spot);
    CREATE INDEX ON bulk USING brin (id); CREATE SEQUENCE bulk_number;
    """,
    work: """
    COPY bulk (id) FROM PROGRAM 'seq 1 20000';
    UPDATE bulk SET same = id % 3, words = to_tsvector('simple', 'w' || id % 500),
      spot = point(id % 50, id % 70);
    SELECT nextval('bulk_number');
    DELETE FROM bulk WHERE id BETWEEN 3000 AND 15000;
    VACUUM bulk;
    INSERT INTO bulk SELECT n, n % 2, to_tsvector('simple', 'v' || n), point(n % 90, n % 30)
      FROM generate_series(1, 8000) n;
    VACUUM (FREEZE) bulk;
    SELECT id FROM bulk WHERE id < 100 FOR UPDATE;
    """
  )
}
