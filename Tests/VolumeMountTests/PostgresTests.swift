import Foundation
import TestSupport
import Testing
import VolumeMount

private let hasPostgres =
  access("\(StockServer.binaries(major: 15))/pg_amcheck", X_OK) == 0

/// PostgreSQL with its data directory on a mounted volume, `full_page_writes=off`, its WAL on the
/// plain
/// disk beside.
@Suite(
  .serialized, .timeLimit(.minutes(10)), .enabled(if: canMount, mountNeeds),
  .enabled(if: hasPostgres, "needs postgresql-15"))
struct PostgresTests {
  @Test(arguments: [false, true]) func everythingPostgresDoesWithItsDirectoryWorks(
    cachesWrites: Bool
  ) async throws {
    try await withDatabase(cachesWrites: cachesWrites) { database in
      let server = database.server
      try server.psql("CREATE DATABASE copied STRATEGY file_copy")
      try server.psql("CREATE DATABASE logged STRATEGY wal_log")
      for name in ["copied", "logged"] {
        try server.psql(
          """
          CREATE TABLE t AS SELECT g AS id, repeat(md5(g::text), 5) AS filler
            FROM generate_series(1, 20000) g;
          CREATE INDEX ON t (id);
          CREATE UNLOGGED TABLE u AS SELECT * FROM t;
          CREATE TEMP TABLE x AS SELECT * FROM t;
          DELETE FROM t WHERE id > 10000; VACUUM t; VACUUM FULL t; CLUSTER t USING t_id_idx;
          TRUNCATE u; INSERT INTO u SELECT * FROM t;
          SELECT lo_from_bytea(0, repeat('x', 100000)::bytea);
          """, database: name)
      }
      try server.psql("DROP DATABASE copied")
      try server.psql(
        "SELECT format('CREATE TABLE many_%s (a int PRIMARY KEY, b text)', g) "
          + "FROM generate_series(1, 2000) g \\gexec")
      #expect(
        try server.psql("SELECT count(*) FROM pg_class WHERE relname ~ '^many_\\d+$'") == "2000")
      try database.checkPgbench(transactions: 200)
      try database.checkEverything()
    }
  }

  @Test func killedPostgresRecoversOnTheSameMount() async throws {
    try await withDatabase { database in
      try database.server.pgbench(["-i", "-q", "-s", "2"])
      for _ in 0..<2 {
        let load = try database.startLoad()
        try await database.waitForTransactions(200)
        try database.killPostgres()
        load.waitUntilExit()
        try database.server.start()
      }
      try database.checkEverything()
    }
  }

  @Test(arguments: [false, true]) func killedServerOfTheMountLosesNothing(
    cachesWrites: Bool
  ) async throws {
    try await withDatabase(cachesWrites: cachesWrites) { database in
      try database.server.pgbench(["-i", "-q", "-s", "2"])
      for _ in 0..<2 {
        let load = try database.startLoad()
        try await database.waitForTransactions(200)
        let seen = try #require(
          Int(database.server.psql("SELECT count(*) FROM pgbench_history")))
        database.mount.crash()
        try database.killPostgres()
        load.waitUntilExit()
        try MountPoint.clearDeadMount(at: database.mount.path)
        try database.mount.start()
        try database.server.start()
        let kept = try #require(
          Int(database.server.psql("SELECT count(*) FROM pgbench_history")))
        #expect(kept >= seen)
      }
      try database.checkEverything()
    }
  }

  /// Writers killed in the middle of their page writes; see ``PieceTests`` for single pieces.
  @Test func killedBackendsLeaveNoHalfPage() async throws {
    try await withDatabase { database in
      try database.server.pgbench(["-i", "-q", "-s", "2"])
      for _ in 0..<3 {
        let load = try database.startLoad()
        try await database.waitForTransactions(100)
        let backend = try database.server.psql(
          "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench' LIMIT 1")
        try run(["kill", "-KILL", backend])
        load.waitUntilExit()
        try await database.waitUntilReady()
      }
      try database.checkEverything()
    }
  }
}
