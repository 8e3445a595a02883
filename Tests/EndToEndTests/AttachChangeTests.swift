import Foundation
import TestSupport
import Testing

/// What is told of an attached server that is away, and what its administrator may change there.
@Suite(.serialized, .heavy) struct AttachChangeTests {
  typealias Scene = AttachTests.Scene

  /// What holds up the change of owners, or could never be ended, is rolled back on the branch; the rest is there.
  @Test func preparedTransactionsDoNotHoldUpABranch() async throws {
    try await withPlatform(arguments: AttachTests.opened) { platform in
      var scene = try AttachTests.Scene(platform, settings: ["max_prepared_transactions=10"])
      try scene.app.psql(
        """
        BEGIN; INSERT INTO marks VALUES (900); PREPARE TRANSACTION 'bootstrap''s';
        SET SESSION AUTHORIZATION app; BEGIN; INSERT INTO "Größe".t (note) VALUES ('in doubt');
        PREPARE TRANSACTION 'kept'
        """)
      try await scene.attach()
      try await scene.waitUntilFollowed(try scene.mark(1))
      let prepared = "SELECT string_agg(gid, ',' ORDER BY gid) FROM pg_prepared_xacts"
      let first = try await scene.branch()
      #expect(try scene.rows(first, prepared) == "kept")
      try platform.psql(first, "INSERT INTO marks VALUES (2); SET ROLE app; COMMIT PREPARED 'kept'")
      #expect(
        try scene.rows(first, #"SELECT count(*) FROM "Größe".t WHERE note = 'in doubt'"#) == "1")
      try scene.app.psql(
        """
        GRANT INSERT ON marks TO app; SET SESSION AUTHORIZATION app;
        BEGIN; INSERT INTO marks VALUES (901); PREPARE TRANSACTION 'in the way'
        """)
      try await scene.waitUntilFollowed(try scene.mark(3))
      let second = try await scene.branch()
      #expect(try scene.rows(second, prepared) == "kept")
      #expect(try scene.rows(second, "SELECT max(n) FROM marks") == "3")
      #expect(try scene.rows(scene.source, prepared) == "bootstrap's,in the way,kept")
    }
  }

  @Test func awayRaisedSettingsAndTablespacesAreFollowedOrTold() async throws {
    try await withPlatform(arguments: AttachTests.opened) { platform in
      var scene = try Scene(platform, settings: ["checkpoint_timeout=1h"])
      try await scene.attach()
      try await scene.waitUntilFollowed(try scene.mark(1))
      let before = Date()
      try await Self.isToldAway(scene, since: before)
      try scene.killFollower()
      // The process that follows has heard nothing since it began again.
      _ = try await scene.waitForAttachment { $0.string("attachment.away_since") != "" }
      try await Self.isToldAway(scene, since: before)
      try await Self.settingsRaised(scene)
      try await Self.tablespaceMade(scene)
    }
  }

  private static func date(_ text: String) throws -> Date {
    let format = Date.ISO8601FormatStyle(includingFractionalSeconds: text.contains("."))
    return try format.parse(text)
  }

  /// Nothing is dated later than the server was heard of, and nothing later can be asked for.
  private static func isToldAway(_ scene: Scene, since before: Date) async throws {
    if try scene.attachment().string("attachment.away_since").isEmpty { try scene.server.stop() }
    let stopped = Date()
    _ = try await scene.waitForAttachment {
      $0["attachment.streaming"] as? Bool == false
        && $0["attachment.lag_seconds"] as? Double ?? 0 > 1
    }
    let away = try scene.attachment()
    let held = try date(away.string("attachment.held_until"))
    #expect(held <= stopped, "\(away.text)")
    #expect(try date(away.string("attachment.away_since")) >= before, "\(away.text)")
    let shown = try scene.platform.exzo(["attach", "status", "--project-id", scene.project])
    #expect(!shown.output.contains(" 0.0 s"), "\(shown.output)")
    let path = "/projects/\(scene.project)/branches/\(scene.main)"
    let branch = try scene.platform.call("GET", path)
    let latest = branch.string("branch.restore_window.latest_timestamp")
    #expect(try date(latest) <= stopped, "\(branch.text)")
    let snapshot = try scene.platform.call("POST", "\(path)/snapshot")
    #expect(try date(snapshot.string("snapshot.timestamp")) <= stopped, "\(snapshot.text)")
    let dump = try scene.platform.call(
      "POST", "/projects/\(scene.project)/dumps",
      #"{"branches":["\#(scene.main)"],"databases":["app"]}"#)
    #expect(try date(dump.string("dumps.0.timestamp")) <= stopped, "\(dump.text)")
    try await scene.platform.settle(scene.project)
    let now = Date().ISO8601Format()
    let refused = try scene.platform.call("POST", "\(path)/snapshot?timestamp=\(now)")
    #expect(refused.status >= 400 && refused.text.contains(latest), "\(refused.text)")
  }

  /// A stock standby pauses where it allows less than its primary: ours follows, and goes on making keyframes.
  private static func settingsRaised(_ scene: Scene) async throws {
    try scene.server.append(settings: [
      "max_connections=377", "max_prepared_transactions=17", "max_worker_processes=23",
      "max_wal_senders=29", "max_locks_per_transaction=171",
    ])
    try scene.server.start()
    #expect(try scene.server.psql("SHOW max_connections") == "377")
    try await scene.waitUntilFollowed(try scene.mark(2))
    let count = try keyframes(scene)
    // Enough for keyframes that only a standby that goes on replaying can make.
    for number in 0..<3 {
      try scene.app.psql(
        "CREATE TABLE filler\(number) AS SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 40000) AS n"
      )
      try scene.server.psql("CHECKPOINT")
    }
    try await scene.waitForKeyframes(count + 1)
    #expect(try !scene.platform.call("GET", "/alerts").text.contains("compute_alarm"))
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "2")
  }

  private static func keyframes(_ scene: Scene) throws -> Int {
    try scene.storedKeyframes().count
  }

  /// What lies outside the data directory cannot be followed: that ends it, and is told with the way out.
  private static func tablespaceMade(_ scene: Scene) async throws {
    let directory = "\(scene.platform.directory)/fast disk"
    try StockServer.makeOwnedDirectory(directory)
    try await scene.waitUntilFollowed(try scene.mark(3))
    try scene.server.psql("CREATE TABLESPACE \"fast 1\" LOCATION '\(directory)'")
    try scene.app.psql(
      "CREATE TABLE apart TABLESPACE \"fast 1\" AS SELECT 1 AS n; INSERT INTO marks VALUES (4)")
    let over = try await scene.waitForAttachment { $0.string("attachment.status") == "failed" }
    let error = over.string("attachment.error")
    for part in ["tablespace 'fast 1'", "fast disk", "pg_default", "--copy-anew"] {
      #expect(error.contains(part), "\(error)")
    }
    try await scene.waitForAlert("attachment_failed")
    #expect(try scene.platform.call("GET", "/alerts").text.contains("fast 1"))
    for _ in 0..<100 where try scene.server.psql("SELECT count(*) FROM pg_replication_slots") != "0"
    {
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "0")
    // What was before opens, the head too.
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "3")
    // The way out.
    try scene.app.psql("ALTER TABLE apart SET TABLESPACE pg_default")
    try scene.app.psql("DROP TABLESPACE \"fast 1\"")
    try scene.platform.exzo(["attach", "update", "--copy-anew", "--project-id", scene.project])
    try await scene.waitUntilFollowed(try scene.mark(5))
    let anew = try await scene.branch()
    #expect(try scene.rows(anew, "SELECT count(*) FROM marks") == "5")
    _ = try scene.platform.call("POST", "/projects/\(scene.project)/detach")
    try await scene.platform.settle(scene.project)
  }
}
