import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// What a parent may hold that a copy must treat with care.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct ParentStateTests {
  /// The head, whose keyframe is the one of a shutdown before it.
  private func headBehindShutdown(_ root: String, _ engine: Engine) async throws -> LSN {
    let moment = try await engine.head(root)
    let keyframe = try await engine.history(root).seek(
      .lsn(moment), now: HistoryEnvironment.systemTime()
    ).keyframe
    try #require(
      keyframe.checkpointLSN == keyframe.redoLSN && keyframe.consistentLSN < moment,
      "the moment is not opened from the shutdown's keyframe: \(keyframe)")
    return moment
  }

  /// The image says `shut down`; unpatched, a server would replay nothing behind it.
  @Test func commitsBehindAShutdownKeyframeAreThere() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
      try await engine.fleet.suspend(line: root)
      try await engine.wake(root)
      try engine.psql(root, "INSERT INTO t SELECT generate_series(101, 150)")
      let moment = try await headBehindShutdown(root, engine)
      try await engine.withBranch(of: root, at: moment) { branch, _ in
        let found = try engine.psql(branch, "SELECT count(*), max(n) FROM t")
        #expect(found == "150|150")
      }
      // And the same of a branch, whose first keyframe is its end-of-recovery checkpoint.
      let (child, _) = try await engine.open(root, at: moment)
      try engine.psql(child, "INSERT INTO t VALUES (151)")
      try await engine.fleet.suspend(line: child)
      try await engine.wake(child)
      try engine.psql(child, "INSERT INTO t VALUES (152)")
      try await engine.withBranch(of: child, at: try await engine.head(child)) { branch, _ in
        let found = try engine.psql(branch, "SELECT count(*), max(n) FROM t")
        #expect(found == "152|152")
      }
    }
  }

  @Test func preparedTransactionsComeBackUnderSmallerSettings() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot(Engine.workloadSettings)
      try engine.psql(
        root,
        """
        CREATE TABLE t (n int PRIMARY KEY);
        BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'before';
        CHECKPOINT;
        BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'after';
        BEGIN; INSERT INTO t VALUES (3); PREPARE TRANSACTION 'undone'
        """)
      // `open` gives the branch the standard settings, which allow no prepared transaction.
      let (branch, _) = try await engine.open(root, at: try await engine.head(root))
      let names = "SELECT string_agg(gid, ',' ORDER BY gid) FROM pg_prepared_xacts"
      #expect(try engine.psql(branch, names) == "after,before,undone")
      try engine.psql(branch, "COMMIT PREPARED 'after'; ROLLBACK PREPARED 'undone'")
      // The file of the one that is left is the volume's now: it outlives a wake and a crash.
      try await engine.fleet.suspend(line: branch)
      try await engine.wake(branch)
      #expect(try engine.psql(branch, names) == "before")
      #expect(
        try engine.psql(branch, "SET lock_timeout = '2s'; SELECT string_agg(n::text, ',') FROM t")
          == "2")
      try engine.psql(branch, "COMMIT PREPARED 'before'")
      #expect(
        try engine.psql(branch, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t") == "1,2")
      #expect(try engine.psql(root, names) == "after,before,undone")
    }
  }

  /// The server's settings were raised behind the keyframe: a standby must not allow less than WAL was
  /// written with, or it pauses and never comes to the moment.
  @Test func momentsBehindARaiseOfSettingsOpenForReadingAndAsBranches() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE t AS SELECT generate_series(1, 100) AS n")
      try await engine.fleet.suspend(line: root)
      var raised = try #require(try engine.fleet.specification(line: root))
      raised.settings.maxConnections = 333
      raised.settings.maxPreparedTransactions = 7
      raised.settings.maxWorkerProcesses = 11
      _ = try await engine.fleet.start(raised)
      try engine.psql(
        root,
        "INSERT INTO t VALUES (101); BEGIN; INSERT INTO t VALUES (102); PREPARE TRANSACTION 'p'")
      let moment = try await headBehindShutdown(root, engine)
      let sizes =
        "SELECT string_agg(setting, ',' ORDER BY name) FROM pg_settings WHERE name IN "
        + "('max_connections', 'max_prepared_transactions', 'max_worker_processes')"
      for way in [OpeningWay.lazy, .replay] {
        let (past, _) = try await engine.open(root, at: moment) {
          $0.readsOnly = true
          $0.opening = way
        }
        #expect(try engine.psql(past, "SELECT count(*) FROM t") == "101", "\(way)")
        #expect(try engine.psql(past, sizes) == "333,7,11", "\(way)")
        try await engine.fleet.destroy(line: past)
        let (branch, _) = try await engine.open(root, at: moment) { $0.opening = way }
        try engine.psql(branch, "COMMIT PREPARED 'p'")
        #expect(try engine.psql(branch, "SELECT count(*) FROM t") == "102", "\(way)")
        try await engine.fleet.destroy(line: branch)
      }
    }
  }

  /// A copy that went on subscribing would take the parent's rows away from it.
  @Test func aSubscriptionOfTheParentIsOffInTheBranchBeforeAnyWorker() async throws {
    try await withEngine { engine in
      let publisher = try StockServer(
        in: "\(engine.directory)/publisher", settings: ["wal_level=logical"])
      try publisher.start()
      try publisher.psql(
        "CREATE TABLE news (n int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE news")
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE news (n int PRIMARY KEY)")
      // The first start of a line, which opens a moment, runs no apply workers until its end.
      try await engine.fleet.suspend(line: root)
      try await engine.wake(root)
      try engine.psql(
        root,
        """
        CREATE SUBSCRIPTION s CONNECTION
          'host=\(publisher.directory) user=postgres dbname=postgres' PUBLICATION p
        """)
      try await arrive(1, from: publisher, at: root, engine)
      let (branch, _) = try await engine.open(root, at: try await engine.head(root))
      let state = "SELECT subenabled, coalesce(subslotname, '-') FROM pg_subscription"
      #expect(try engine.psql(branch, state) == "f|-")
      try await arrive(2, from: publisher, at: root, engine)
      try await engine.fleet.suspend(line: branch)
      try await engine.wake(branch)
      #expect(try engine.psql(branch, state) == "f|-")
      try await arrive(3, from: publisher, at: root, engine)
      #expect(try engine.psql(branch, "SELECT string_agg(n::text, ',') FROM news") == "1")
      #expect(!engine.logs(branch).contains("logical replication apply worker for subscription"))
      #expect(engine.logs(root).contains("logical replication apply worker for subscription"))
      #expect(try engine.psql(root, "SELECT subenabled FROM pg_subscription") == "t")
      // Dropped without a word to the publisher: the slot there is the parent's.
      try engine.psql(branch, "DROP SUBSCRIPTION s")
      #expect(try publisher.psql("SELECT count(*) FROM pg_replication_slots") == "1")
      try await engine.fleet.suspend(line: root)
      try publisher.stop()
    }
  }

  private func arrive(
    _ number: Int, from publisher: StockServer, at line: String, _ engine: Engine
  ) async throws {
    try publisher.psql("INSERT INTO news VALUES (\(number))")
    for _ in 0..<600 {
      if try engine.psql(line, "SELECT count(*) FROM news WHERE n = \(number)") == "1" { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(
      description: "wait for row \(number): not there after 30 s\n\(engine.logs(line).suffix(2000))"
    )
  }

  /// The line goes on from the store alone, as on a machine that never saw its volume.
  @Test func unloggedTablesAreEmptyAndWorkAfterAWakeElsewhere() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(
        root,
        """
        CREATE UNLOGGED TABLE fleeting (id bigserial PRIMARY KEY, body text);
        CREATE INDEX ON fleeting USING gin (to_tsvector('simple', body));
        INSERT INTO fleeting (body) SELECT md5(n::text) FROM generate_series(1, 5000) AS n;
        CREATE TABLE lasting AS SELECT generate_series(1, 5000) AS n;
        CHECKPOINT
        """)
      try await engine.fleet.suspend(line: root)
      try await engine.wake(root)
      #expect(try engine.psql(root, "SELECT count(*) FROM fleeting") == "5000")
      let moment = try await engine.head(root)
      try await engine.fleet.suspend(line: root)
      try await engine.fleet.destroy(line: root)
      try await engine.withBranch(of: root, at: moment) { elsewhere, _ in
        #expect(
          try engine.psql(
            elsewhere,
            """
            SELECT count(*) FROM lasting; SELECT count(*) FROM fleeting;
            INSERT INTO fleeting (body) VALUES ('one more'); SET enable_seqscan = off;
            SELECT count(*) FROM fleeting
              WHERE to_tsvector('simple', body) @@ to_tsquery('simple', 'more')
            """) == "5000\n0\n1")
        #expect(try AmCheck.failures(on: engine.connection(elsewhere)) == [])
        try await engine.fleet.suspend(line: elsewhere)
        try await engine.wake(elsewhere)
        #expect(try engine.psql(elsewhere, "SELECT count(*) FROM fleeting") == "1")
      }
    }
  }
}
