import Foundation
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import Compute

/// A tail that was rewritten and the tree computed from it, against stock recovery of the tail as it
/// is.
@Suite(.serialized, .heavy, .needsPostgres()) struct RewrittenTailTests {
  /// Everything but databases made by copying files, which no rewritten tail may hold.
  static let workloads: [any Workload] =
    Workloads.all.filter { $0.name != "databases" } + [LoggedDatabaseWorkload()]

  @Test func workAfterACleanStop() async throws {
    try await withTemporaryDirectory { directory in
      let cluster = try await KilledCluster.make(
        in: directory, prepare: { try Self.prepare($0, Self.workloads) },
        work: { server in
          _ = try await WorkloadRun(on: server.connection, seed: 11).run(
            Self.workloads, seconds: 8)
        })
      try await compare(cluster, moments: 2, seed: 21)
      guard case .lazy(let summary) = try cluster.rewrite(to: cluster.end, seed: 1).outcome else {
        Issue.record("not opened")
        return
      }
      let counts = summary.counts
      #expect(counts.pages > 2000 && counts.state > 500 && counts.truncations > 0, "\(counts)")
      let image = try DirectoryTree.read(cluster.base)
      let new = summary.moment.tree.entries.filter { $0.id >= image.nextFileID }
      #expect(new.contains { $0.kind == .directory }, "no database was made")
      #expect(new.contains { $0.name.hasSuffix("_init") }, "no unlogged relation was made")
      #expect(new.contains { $0.name.hasSuffix("_vm") })
    }
  }

  /// The image is newer than the redo LSN: replay goes over changes that it holds already.
  @Test func workDuringAnOnlineCheckpoint() async throws {
    try await withTemporaryDirectory { directory in
      let cluster = try await KilledCluster.make(
        in: directory, online: true, prepare: { try Self.prepare($0, Self.workloads) },
        work: { server in
          _ = try await WorkloadRun(on: server.connection, seed: 12).run(
            Self.workloads, seconds: 8)
        })
      #expect(cluster.consistent > cluster.redo)
      try await compare(cluster, moments: 2, seed: 22)
    }
  }

  /// A relation that grows past a segment's end, is emptied by vacuum, and grows again.
  @Test func relationsOfSeveralSegments() async throws {
    try await withTemporaryDirectory { directory in
      let cluster = try await KilledCluster.make(
        in: directory, settings: ["autovacuum=off"],
        prepare: { server in
          try server.psql(
            """
            CREATE TABLE big (id int, body text);
            ALTER TABLE big ALTER COLUMN body SET STORAGE PLAIN; INSERT INTO big VALUES (1, 'first');
            CREATE TABLE cut (id int, body text);
            INSERT INTO cut SELECT n, repeat('x', 900) FROM generate_series(1, 40000) AS n;
            VACUUM cut
            """)
        },
        stopped: { server in
          // Pages of zeros up to two pages before the first segment's end.
          let path = try Self.path(of: "big", server)
          #expect(truncate(path, off_t(1 << 30) - 2 * 8192) == 0)
        },
        work: { server in
          try server.psql(
            """
            INSERT INTO big SELECT n, repeat('y', 3000) FROM generate_series(1, 40) AS n;
            DELETE FROM cut WHERE id > 300; VACUUM cut;
            INSERT INTO cut SELECT n, repeat('z', 900) FROM generate_series(1, 3000) AS n;
            """)
          try server.psql("DELETE FROM big; VACUUM big;")
          try server.psql("INSERT INTO big VALUES (2, 'again'); TRUNCATE cut;")
        })
      let sizes = try await compare(cluster, moments: 3, seed: 23)
      // Vacuum shortened files of the image.
      guard case .lazy(let summary) = try cluster.rewrite(to: cluster.end, seed: 1).outcome else {
        Issue.record("not opened")
        return
      }
      #expect(summary.counts.truncations >= 2)
      #expect(summary.moment.truncations.values.contains { $0.contains { $0.cutsVisibilityMap } })
      #expect(sizes.contains { $0.hasSuffix(".1") })
    }
  }

  @Test func databasesMadeByCopyingFilesNeedReplay() async throws {
    try await withTemporaryDirectory { directory in
      let cluster = try await KilledCluster.make(
        in: directory, prepare: { _ in },
        work: { try $0.psql("CREATE DATABASE copied STRATEGY file_copy") })
      let (_, outcome) = try cluster.rewrite(to: cluster.end, seed: 1)
      guard case .replay(let fallback) = outcome else {
        Issue.record("opened without replay")
        return
      }
      #expect(fallback.reason == .databaseFileCopy)
    }
  }

  @Test func aDatabaseMadeAgainUnderItsNumberNeedsReplay() async throws {
    try await withTemporaryDirectory { directory in
      let cluster = try await KilledCluster.make(
        in: directory, prepare: { try $0.psql("CREATE DATABASE d OID = 70000") },
        work: { server in
          try server.psql("DROP DATABASE d")
          try server.psql("CREATE DATABASE d OID = 70000")
        })
      let (_, outcome) = try cluster.rewrite(to: cluster.end, seed: 1)
      guard case .replay(let fallback) = outcome else {
        Issue.record("opened without replay")
        return
      }
      #expect(fallback.reason == .madeAgain && fallback.lsn > cluster.redo)
    }
  }

  /// What today's check of the tail refuses is refused here too.
  @Test func aMissingFileIsRefused() async throws {
    try await withTemporaryDirectory { directory in
      let cluster = try await KilledCluster.make(
        in: directory,
        prepare: { try $0.psql("CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)") },
        work: { try $0.psql("UPDATE t SET n = 3 WHERE n = 1; DELETE FROM t WHERE n = 2") })
      let server = try StockServer(adopting: "\(directory)/server")
      try server.start()
      let path = try server.psql("SELECT pg_relation_filepath('t')")
      try server.stop()
      #expect(truncate("\(cluster.base)/\(path)", 0) == 0)
      let error = #expect(throws: ComputeError.self) {
        _ = try cluster.rewrite(to: cluster.end, seed: 1)
      }
      #expect(error?.code == .damagedHistory)
      #expect(error?.message.contains(path.split(separator: "/").last ?? "?") == true)
    }
  }

  // MARK: Comparing

  private static func prepare(_ server: StockServer, _ workloads: [any Workload]) throws {
    for workload in workloads { try workload.prepare(on: server.connection) }
  }

  private static func path(of table: String, _ server: StockServer) throws -> String {
    try server.start()
    let path = try server.psql("SELECT pg_relation_filepath('\(table)')")
    try server.stop()
    return "\(server.dataDirectory)/\(path)"
  }

  /// Opens the last moment and random ones both ways and compares.
  /// - Returns: the relation files that any of the moments had.
  @discardableResult
  private func compare(
    _ cluster: KilledCluster, moments: Int, seed: UInt64
  ) async throws -> Set<String> {
    var random = SeededRandom(seed: seed)
    var chosen = [cluster.end]
    while chosen.count <= moments {
      chosen.append(cluster.boundaries[random.pick(0...cluster.boundaries.count - 1)])
    }
    var seen: Set<String> = []
    for (number, moment) in chosen.enumerated() {
      let comparison = try MomentComparison(cluster, moment, number: number, seed: seed)
      seen.formUnion(try comparison.compare())
      if number == 0 { try comparison.compareDumps() }
      try comparison.remove()
    }
    return seen
  }
}

/// Databases made by logging their pages, filled and dropped.
struct LoggedDatabaseWorkload: Workload {
  let name = "loggeddb"
  let preparation = "CREATE TABLE known (name text)"
  let checks: [ConsistencyCheck] = []

  func perform(_ step: inout WorkloadStep) throws {
    let database = "logged_\(step.worker)_\(step.number)"
    try step.session.execute(
      "CREATE DATABASE \(database) STRATEGY = wal_log TEMPLATE template0")
    let current = try step.session.execute("SELECT current_database()").first ?? "postgres"
    try step.session.execute("\\connect \(database)")
    try step.session.execute(
      """
      CREATE TABLE filled AS SELECT n, md5(n::text) AS hash FROM generate_series(1, 2000) AS n;
      CREATE INDEX ON filled (hash); VACUUM FULL pg_class; CREATE UNLOGGED TABLE u (n int)
      """)
    try step.session.execute(
      "\\connect \(current)\nSET search_path = \(name), public; SET client_min_messages = error")
    if step.number % 3 != 0 { try step.session.execute("DROP DATABASE \(database)") }
    try step.commit("INSERT INTO known VALUES ('\(database)')")
  }
}
