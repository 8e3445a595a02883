import Foundation
import TestSupport
import Testing

/// Servers that live elsewhere: attached, followed through accidents, branched at moments, detached.
@Suite(.serialized, .heavy) struct AttachTests {
  static let opened = ["--attach-networks", "127.0.0.0/8"]

  @Test func momentsOfAServerElsewhereOpenAndAccidentsLoseNothing() async throws {
    try await withPlatform(arguments: Self.opened) { platform in
      var scene = try Scene(platform)
      let load = try BackgroundProgram(
        [scene.app.program("pgbench"), "-n", "-c", "2", "-T", "60", scene.app.conninfo],
        log: "\(platform.directory)/pgbench.log")
      try await scene.attach()
      #expect(try scene.attachment().string("attachment.status") == "following")
      let first = try scene.mark(1)
      let second = try scene.mark(2)
      let before = try scene.app.psql("SELECT count(*) FROM pgbench_history")
      let time = try scene.app.psql(
        #"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#)
      try await Task.sleep(for: .milliseconds(20))
      let third = try scene.mark(3)
      // The follower dies in the middle of the stream, then serve does.
      try scene.killFollower()
      _ = try scene.mark(4)
      try await scene.waitUntilFollowed(try scene.mark(5))
      try platform.kill()
      let sixth = try scene.mark(6)
      try await platform.start()
      try await scene.waitUntilFollowed(sixth)
      load.signal(SIGINT)
      load.wait()
      // Its checkpoints become keyframes here.
      try await scene.waitForKeyframes(2)
      // The server goes away and comes back.
      try scene.server.restart()
      try await scene.waitUntilFollowed(try scene.mark(7))

      let atSecond = try await scene.branch(#","parent_lsn":"\#(second)""#)
      #expect(try scene.rows(atSecond, "SELECT max(n) FROM marks") == "2")
      #expect(try scene.rows(atSecond, Scene.sums).hasPrefix("t|"))
      let atFirst = try await scene.branch(#","parent_lsn":"\#(first)""#)
      #expect(try scene.rows(atFirst, "SELECT max(n) FROM marks") == "1")
      let atTime = try await scene.branch(#","parent_timestamp":"\#(time)""#)
      #expect(try scene.rows(atTime, "SELECT max(n) FROM marks") == "2")
      #expect(
        try Int(scene.rows(atTime, "SELECT count(*) FROM pgbench_history")) ?? 0
          >= Int(before) ?? .max)
      let atThird = try await scene.branch(#","parent_lsn":"\#(third)""#)
      #expect(try scene.rows(atThird, "SELECT max(n) FROM marks") == "3")

      let head = try await scene.branch()
      #expect(try scene.rows(head, Scene.sums) == scene.app.psql(Scene.sums))
      #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "7")
      try Self.checkAdopted(scene, head)
      try Self.checkReadingThePast(scene, head, lsn: second)
      try await Self.checkServices(scene, lsn: second)
      try await Self.checkDetached(scene, load: head)
    }
  }

  /// A branch is a writable copy; what superusers left on the server has no power over this machine.
  private static func checkAdopted(_ scene: Scene, _ uri: String) throws {
    #expect(
      try scene.rows(uri, #"SELECT count(*), min(length(note)) FROM "Größe".t"#)
        == scene.app.psql(#"SELECT count(*), min(length(note)) FROM "Größe".t"#))
    #expect(try scene.rows(uri, "SELECT count(*) FROM fleeting") == "0")
    _ = try scene.rows(
      uri,
      #"""
      INSERT INTO marks VALUES (100); CREATE TABLE mine (n int); ALTER TABLE "Größe".t ADD x int;
      ALTER TABLE marks ADD y int; CREATE INDEX ON pgbench_accounts (abalance);
      """#)
    #expect(try scene.app.psql("SELECT count(*) FROM marks WHERE n = 100") == "0")
    #expect(
      try scene.rows(
        uri,
        "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolsuper OR rolreplication OR oid = 10"
      )
        == "exzo_superuser")
    #expect(try scene.rows(uri, "SELECT danger()") == "postgres")
    #expect(
      try scene.rows(uri, "SELECT rolsuper OR rolcanlogin FROM pg_roles WHERE rolname = 'postgres'")
        == "f")
    // A template of theirs is one of the databases, PostgreSQL's own are not.
    #expect(
      try scene.rows(
        uri,
        "SELECT pg_get_userbyid(datdba), datistemplate FROM pg_database WHERE datname = 'model'")
        == "exzodb_owner|t")
    let listed = try scene.platform.call(
      "GET", "/projects/\(scene.project)/branches/\(scene.main)/databases")
    #expect(listed.text.contains("\"model\""), "\(listed.text)")
    #expect(!listed.text.contains("\"template"), "\(listed.text)")
    let copy = try scene.platform.psql(
      uri, "COPY marks TO PROGRAM 'true'", allowFailure: true)
    #expect(copy.status != 0)
    let large = try scene.platform.psql(
      uri, "SELECT lo_export(oid, '/tmp/no') FROM pg_largeobject_metadata", allowFailure: true)
    #expect(large.status != 0, "\(large.output)")
  }

  /// A session of a past moment has the branch's role, which the server does not have, and cannot write.
  private static func checkReadingThePast(_ scene: Scene, _ head: String, lsn: String) throws {
    let past = scene.pastURI(head, lsn: lsn)
    #expect(try scene.rows(past, "SELECT max(n) FROM marks") == "2")
    #expect(
      try scene.rows(
        past,
        "SELECT current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)")
        == "exzodb_owner|f")
    let write = try scene.platform.psql(past, "INSERT INTO marks VALUES (77)", allowFailure: true)
    #expect(write.status != 0 && write.errorOutput.contains("read-only"), "\(write.errorOutput)")
    #expect(try scene.rows(past, "SELECT count(*) > 0 FROM \"Größe\".t") == "t")
  }

  /// Snapshot, dump and drill work as of any branch; an endpoint needs a branch.
  private static func checkServices(_ scene: Scene, lsn: String) async throws {
    let platform = scene.platform
    let base = "/projects/\(scene.project)"
    let refused = try platform.call(
      "POST", "\(base)/endpoints",
      #"{"endpoint":{"branch_id":"\#(scene.main)","type":"read_write"}}"#)
    #expect(refused.status == 400, "\(refused.text)")
    #expect(refused.string("code") == "branch_is_attached")
    let snapshot = try platform.call(
      "POST", "\(base)/branches/\(scene.main)/snapshot?lsn=\(lsn)&name=s")
    #expect(snapshot.status < 300, "\(snapshot.text)")
    // A copy does not take the place of what follows the server.
    let replaced = try platform.call(
      "POST", "\(base)/snapshots/\(snapshot.string("snapshot.id"))/restore",
      #"{"target_branch_id":"\#(scene.main)","finalize_restore":true}"#)
    #expect(
      replaced.status >= 400 && replaced.text.contains("exzo detach"),
      "\(replaced.status) \(replaced.text)")
    let dumps = try platform.call(
      "POST", "\(base)/dumps",
      #"{"branches":["\#(scene.main)"],"databases":["app"],"lsn":"\#(lsn)","verify":true}"#)
    #expect(dumps.status == 201, "\(dumps.text)")
    let drill = try platform.call("POST", "\(base)/branches/\(scene.main)/drills")
    #expect(drill.status < 300, "\(drill.text)")
    try await platform.settle(scene.project)
    let dump = try platform.call("GET", "\(base)/dumps/\(dumps.string("dumps.0.id"))")
    // Its event trigger can be restored by a superuser only: left out by name, the rest compared.
    #expect(dump.string("dump.verification.status") == "passed", "\(dump.text)")
    #expect(dump.text.contains("left out: event trigger 'never'"), "\(dump.text)")
    var last = drill
    for _ in 0..<300 {
      last = try platform.call("GET", "\(base)/drills/\(drill.string("drill.id"))")
      if !["scheduled", "running"].contains(last.string("drill.status")) { break }
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(last.string("drill.status") == "passed", "\(last.text)")
  }

  /// The server is as it was; history stays.
  private static func checkDetached(_ scene: Scene, load: String) async throws {
    let platform = scene.platform
    let base = "/projects/\(scene.project)"
    #expect(try platform.call("DELETE", base).status == 412)
    let last = try scene.mark(8)
    try await scene.waitUntilFollowed(last)
    let detached = try platform.call("POST", "\(base)/detach")
    #expect(detached.status < 300, "\(detached.text)")
    try await platform.settle(scene.project)
    #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "0")
    #expect(
      try scene.server.psql(
        """
        SELECT string_agg(rolname, ',' ORDER BY oid) FROM pg_roles
        WHERE oid = 10 OR oid >= 16384
        """)
        == "postgres,app,replicator")
    #expect(try scene.attachment().string("attachment.status") == "detached")
    _ = try scene.mark(9)
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "8")
    #expect(try platform.call("DELETE", base).status == 200)
  }

  /// Over a bucket, which nothing of it depends on.
  @Test(.needsObjectServer) func checksumsOffAndLargeSegmentsAreCarriedThrough() async throws {
    try await withTemporaryDirectory { directory in
      let bucket = try await ObjectServer(directory: "\(directory)/s3")
      defer { bucket.stop() }
      try await withPlatform(
        arguments: Self.opened + ["--object-store", bucket.url(prefix: "exzo")],
        environment: bucket.environment
      ) { try await Self.checkCarriedThrough($0) }
    }
  }

  private static func checkCarriedThrough(_ platform: Platform) async throws {
    let megabytes = ProcessInfo.processInfo.environment["EXZO_TEST_LONG"] == "1" ? 1024 : 64
    var scene = try Scene(
      platform, settings: ["wal_log_hints=off"],
      initdbOptions: ["--wal-segsize=\(megabytes)"]
    ) { server in
      try run(
        ["\(server.binaries)/pg_checksums", "--disable", "-D", server.dataDirectory],
        asPostgresUser: true)
    }
    try await scene.attach()
    let shown = try scene.attachment()
    #expect(shown["attachment.data_checksums"] as? Bool == false)
    #expect(shown["attachment.wal_segment_bytes"] as? Int == megabytes << 20)
    try scene.app.pgbench(["-n", "-c", "2", "-t", "500"])
    let lsn = try scene.mark(1)
    try scene.app.pgbench(["-n", "-c", "2", "-t", "100"])
    let past = try await scene.branch(#","parent_lsn":"\#(lsn)""#)
    #expect(try scene.rows(past, "SHOW data_checksums") == "off")
    #expect(
      try scene.rows(past, "SHOW wal_segment_size") == (megabytes == 64 ? "64MB" : "1GB"))
    #expect(try scene.rows(past, Scene.sums).hasSuffix("|1000"))
    let head = try await scene.branch()
    #expect(try scene.rows(head, Scene.sums) == scene.app.psql(Scene.sums))
    try await Self.checkDetached(scene, load: head)
  }

  @Test func sourcesThatAreClosedOrUnfitAreRefusedWithTheReason() async throws {
    try await withPlatform(arguments: ["--attach-networks", "127.0.0.1/32"]) { platform in
      let scene = try Scene(platform)
      let port = scene.server.port
      let cases: [(String, String)] = [
        ("postgresql://u@169.254.169.254/d", "is closed"),
        ("postgresql://u@[::1]:\(port)/d", "is closed"),
        ("postgresql://u@127.0.0.2:\(port)/d", "is closed"),
        ("postgresql://u@0.0.0.0:\(port)/d", "is closed"),
        ("postgresql://u@[::ffff:127.0.0.2]:\(port)/d", "is closed"),
        (
          "postgresql://u@/d?host=\(scene.server.directory)&port=\(port)",
          "unix sockets are closed"
        ),
        ("postgresql://u@127.0.0.1:\(port)/d?options=-cx", "'options' is not taken"),
        ("postgresql://u@127.0.0.1:\(port)/d?sslkey=/etc/passwd", "'sslkey' is not taken"),
        ("postgresql://u@127.0.0.1:\(port)/d?service=x", "'service' is not taken"),
        ("postgresql://app@127.0.0.1:\(port)/app", "may not replicate"),
        ("postgresql://nobody@127.0.0.1:\(port)/app", "does not exist"),
        ("postgresql://u@127.0.0.1:1/d", "refused"),
        ("nonsense", "source.connection_string"),
      ]
      for (source, reason) in cases {
        let answer = try platform.call(
          "POST", "/projects/attach", #"{"source":{"connection_string":"\#(source)"}}"#)
        #expect(answer.status == 400, "\(source): \(answer.text)")
        #expect(answer.text.contains(reason), "\(source): \(answer.text)")
      }
      #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "0")
      let none = try platform.call("GET", "/projects?limit=10")
      #expect((none["projects"] as? [Any])?.isEmpty == true, "\(none.text)")
    }
  }
}
