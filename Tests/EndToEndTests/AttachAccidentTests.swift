import Foundation
import TestSupport
import Testing

/// What may happen to an attached server and to the way there: each is named, and has a way out.
@Suite(.serialized, .heavy) struct AttachAccidentTests {
  typealias Scene = AttachTests.Scene

  /// Passwords are asked for, and WAL that no slot keeps goes at the next checkpoint.
  private static let settings = ["wal_keep_size=0", "min_wal_size=32MB", "max_wal_size=64MB"]

  private static func askForPasswords(_ server: StockServer) throws {
    try
      "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"
      .write(toFile: "\(server.dataDirectory)/pg_hba.conf", atomically: false, encoding: .utf8)
  }

  @Test func changedPasswordsLostSlotsAndFailoversHaveAWayOut() async throws {
    try await withPlatform(arguments: AttachTests.opened) { platform in
      var scene = try Scene(platform, settings: Self.settings, prepare: Self.askForPasswords)
      try await scene.attach()
      try Self.attachedTwice(scene)
      try await scene.waitUntilFollowed(try scene.mark(1))
      try Self.attachedTwice(scene)
      try await Self.passwordChanged(scene)
      try await Self.slotDropped(scene)
      let last = try await Self.failedOver(scene)
      try await Self.copiedAnew(scene, moment: last)
      try await Self.walLost(scene)
    }
  }

  /// The same project goes on with a new copy; what was followed before is a branch beside it.
  private static func copiedAnew(_ scene: Scene, moment: String) async throws {
    let project = ["--project-id", scene.project]
    try scene.platform.exzo(["attach", "update", "--copy-anew"] + project)
    try await scene.waitUntilFollowed(try scene.mark(50))
    try await scene.platform.settle(scene.project)
    #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "1")
    let refused = try scene.platform.exzo(
      ["attach", "update", "--copy-anew"] + project, status: nil)
    #expect(refused.status != 0 && refused.errorOutput.contains("nothing is wrong"), "\(refused)")
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "50")
    let branches = try scene.platform.call(
      "GET", "/projects/\(scene.project)/branches?search=main%20until")
    let former = branches.string("branches.0.id")
    #expect(!former.isEmpty, "\(branches.text)")
    let kept = try await scene.branch(#","parent_id":"\#(former)""#)
    #expect(try scene.rows(kept, "SELECT max(n) FROM marks") == "6")
    let past = try await scene.branch(#","parent_id":"\#(former)","parent_lsn":"\#(moment)""#)
    #expect(try scene.rows(past, "SELECT max(n) FROM marks") == "5")
  }

  /// One server is followed once, whatever it is called and whenever it was started.
  private static func attachedTwice(_ scene: Scene) throws {
    for host in ["127.0.0.1", "localhost", "0x7f.1"] {
      let source = scene.source.replacing("@127.0.0.1:", with: "@\(host):")
      let again = try scene.platform.call(
        "POST", "/projects/attach", #"{"source":{"connection_string":"\#(source)"}}"#)
      #expect(again.status == 409, "\(host): \(again.text)")
      #expect(again.string("code") == "attachment_already_exists")
      #expect(again.text.contains("branch 'main' of project '\(scene.project)'"), "\(again.text)")
    }
    #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "1")
  }

  /// The server does not answer when it is detached: once it does, it is followed as before, and nothing is missing.
  @Test func aDetachingThatFailedIsFollowedByFollowing() async throws {
    try await withPlatform(arguments: AttachTests.opened) { platform in
      var scene = try Scene(platform, settings: Self.settings, prepare: Self.askForPasswords)
      try await scene.attach()
      try await Self.detachedInVain(scene)
      try Self.attachedTwice(scene)
    }
  }

  private static func detachedInVain(_ scene: Scene) async throws {
    try scene.server.stop()
    let refused = try scene.platform.exzo(["detach", "--project-id", scene.project], status: nil)
    #expect(
      refused.status != 0 && refused.errorOutput.contains("repeat the request"), "\(refused)")
    try scene.server.start()
    try await scene.waitUntilFollowed(try scene.mark(1))
    #expect(try scene.attachment().string("attachment.status") == "following")
  }

  private static func passwordChanged(_ scene: Scene) async throws {
    // Each is its own transaction: the role's new password counts before the connection ends.
    try scene.server.psql("ALTER ROLE replicator PASSWORD 'new one'")
    try scene.server.psql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots")
    // First that the connection ended, then why there is no new one.
    let away = try await scene.waitForAttachment {
      $0.string("attachment.error").contains("password authentication failed")
    }
    #expect(away.string("attachment.status") == "following", "\(away.text)")
    #expect(away.string("attachment.error").contains("exzo attach update"))
    #expect(away["attachment.away_seconds"] as? Double ?? -1 >= 0)
    _ = try scene.mark(2)
    // The head is what came.
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "1")
    let path = "/projects/\(scene.project)/attachment"
    let wrong = try scene.platform.call(
      "PATCH", path, #"{"source":{"connection_string":"\#(scene.source)"}}"#)
    #expect(wrong.status == 400 && wrong.string("code") == "source_refused", "\(wrong.text)")
    let project = ["--project-id", scene.project]
    let source = scene.source.replacing("copy%20me", with: "new%20one")
    let shown = try scene.platform.exzo(["attach", "update", source] + project)
    #expect(shown.output.contains("true"), "\(shown.output)")
    try await scene.waitUntilFollowed(try scene.mark(3))
    // Without a password the known one stays.
    let plain = scene.source.replacing(":copy%20me@", with: "@")
    let kept = try scene.platform.call(
      "PATCH", path, #"{"source":{"connection_string":"\#(plain)"}}"#)
    #expect(kept.status == 200, "\(kept.text)")
    #expect(!kept.text.contains("new one"))
    try await scene.waitUntilFollowed(try scene.mark(4))
  }

  /// While the WAL is there a slot that is gone is made anew, and nothing is missing.
  private static func slotDropped(_ scene: Scene) async throws {
    try scene.dropSlots()
    let lsn = try scene.mark(5)
    try scene.server.psql("ALTER ROLE replicator LOGIN")
    try await scene.waitUntilFollowed(lsn)
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT count(*) FROM marks") == "5")
  }

  /// Another timeline: named; the head is what was followed. Returns a moment of it, after mark 5.
  private static func failedOver(_ scene: Scene) async throws -> String {
    let moment = try scene.server.psql("SELECT pg_current_wal_insert_lsn()")
    try await scene.waitUntilFollowed(try scene.mark(6))
    try scene.server.stop()
    let signal = "\(scene.server.dataDirectory)/standby.signal"
    #expect(FileManager.default.createFile(atPath: signal, contents: Data()))
    try run(["chown", "postgres:postgres", signal])
    try scene.server.start()
    try scene.server.psql("SELECT pg_promote(true)")
    _ = try scene.mark(7)
    let over = try await scene.waitForAttachment { $0.string("attachment.status") == "failed" }
    #expect(over.string("attachment.error").contains("timeline 2"), "\(over.text)")
    #expect(over.string("attachment.error").contains("exzo attach update --copy-anew"))
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "6")
    try await scene.waitForAlert("attachment_failed")
    return moment
  }

  private static func detach(_ scene: Scene) async throws {
    _ = try scene.platform.call("POST", "/projects/\(scene.project)/detach")
    try await scene.platform.settle(scene.project)
    #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "0")
  }

  /// The slot is gone and so is WAL: named, and no slot is left that would keep more of it for nobody.
  private static func walLost(_ scene: Scene) async throws {
    try scene.dropSlots()
    for _ in 0..<4 {
      try scene.server.psql("CREATE TABLE t (n int); DROP TABLE t; SELECT pg_switch_wal()")
      try scene.server.psql("CHECKPOINT")
    }
    try scene.server.psql("ALTER ROLE replicator LOGIN")
    let over = try await scene.waitForAttachment { $0.string("attachment.status") == "failed" }
    let error = over.string("attachment.error")
    #expect(
      error.contains("is gone from server") && error.contains("max_slot_wal_keep_size"), "\(error)")
    for _ in 0..<100 where try scene.server.psql("SELECT count(*) FROM pg_replication_slots") != "0"
    {
      try await Task.sleep(for: .milliseconds(100))
    }
    #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "0")
    let head = try await scene.branch()
    #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "50")
    try await detach(scene)
  }

  /// sslmode means what it means everywhere; the authorities are the ones given, or this machine's.
  @Test func certificatesAreCheckedAsSslmodeSays() async throws {
    try await withPlatform(arguments: AttachTests.opened) { platform in
      var scene = try Scene(platform, settings: ["ssl=on"]) { server in
        let (key, certificate) = (
          "\(server.dataDirectory)/server.key", "\(server.dataDirectory)/server.crt"
        )
        try run(
          [
            "openssl", "req", "-new", "-x509", "-days", "30", "-nodes", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
          ], asPostgresUser: true)
        try run(["chmod", "600", key])
      }
      let pem = try String(
        contentsOfFile: "\(scene.server.dataDirectory)/server.crt", encoding: .utf8)
      func source(_ mode: String, host: String = "localhost", _ pem: String? = nil) throws -> String
      {
        let text = scene.source.replacing("sslmode=disable", with: "sslmode=\(mode)")
          .replacing("@127.0.0.1:", with: "@\(host):")
        var source = ["connection_string": text]
        source["root_certificate"] = pem
        return String(
          decoding: try JSONSerialization.data(withJSONObject: ["source": source]), as: UTF8.self)
      }
      for (body, reason) in [
        (try source("verify-full"), "certificate verify failed"),
        (try source("verify-full", host: "127.0.0.1", pem), "does not match host name"),
        (try source("require", pem), "verify-full only"),
        (try source("verify-full", "no certificate"), "must be PEM"),
      ] {
        let refused = try platform.call("POST", "/projects/attach", body)
        #expect(refused.status == 400, "\(refused.text)")
        #expect(refused.text.contains(reason), "\(refused.text)")
      }
      let answer = try platform.call("POST", "/projects/attach", try source("verify-full", pem))
      #expect(answer.status == 201, "\(answer.text)")
      scene.project = answer.string("project.id")
      scene.main = answer.string("branch.id")
      try await platform.settle(scene.project)
      try await scene.waitUntilFollowed(try scene.mark(1))
      #expect(
        try scene.server.psql(
          "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)") == "t")
      let path = "/projects/\(scene.project)/attachment"
      // The certificate stays known; without checking, any address will do.
      for body in [try source("verify-ca"), try source("require", host: "127.0.0.1")] {
        let updated = try platform.call("PATCH", path, body)
        #expect(updated.status == 200, "\(updated.text)")
      }
      try await scene.waitUntilFollowed(try scene.mark(2))
      _ = try platform.call("POST", "/projects/\(scene.project)/detach")
      try await platform.settle(scene.project)
    }
  }

  /// The machine that followed is lost: the next one goes on where the store ends, on the same line.
  @Test func aRecoveredMachineGoesOnFollowing() async throws {
    try await withTemporaryDirectory { directory in
      let site = try Site(directory)
      let first = try site.machine("first", more: AttachTests.opened)
      try await first.start()
      var scene = try Scene(first)
      try await scene.attach()
      let second = try scene.mark(2)
      try await scene.waitUntilFollowed(second)
      let keyFile = try site.copyMasterKey(of: first)
      try await Task.sleep(for: .seconds(2))  // the catalog of `local` durability
      try first.lose(deletingData: true)
      let third = try scene.mark(3)
      let next = try site.machine("second", recovering: keyFile, more: AttachTests.opened)
      try await next.start()
      defer { try? next.lose(deletingData: false) }  // processes only; errors were reported
      scene.platform = next
      try await scene.waitUntilFollowed(third)
      #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "1")
      let past = try await scene.branch(#","parent_lsn":"\#(second)""#)
      #expect(try scene.rows(past, "SELECT max(n) FROM marks") == "2")
      let head = try await scene.branch()
      #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "3")
      _ = try next.call("POST", "/projects/\(scene.project)/detach")
      try await next.settle(scene.project)
      #expect(try scene.server.psql("SELECT count(*) FROM pg_replication_slots") == "0")
    }
  }
}

extension AttachTests.Scene {
  func waitForAttachment(
    _ isMet: (Platform.Answer) -> Bool
  ) async throws -> Platform.Answer {
    var last = try attachment()
    for _ in 0..<600 {
      if isMet(last) { return last }
      try await Task.sleep(for: .milliseconds(100))
      last = try attachment()
    }
    throw CommandFailure(description: "the attachment stays as it is: \(last.text)")
  }

  func waitForAlert(_ kind: String) async throws {
    for _ in 0..<200 {
      if try platform.call("GET", "/alerts").text.contains("\"\(kind)\"") { return }
      try await Task.sleep(for: .milliseconds(100))
    }
    throw CommandFailure(
      description: "no alert '\(kind)': \(try platform.call("GET", "/alerts").text)")
  }

  /// Drops all slots of the server, whoever streams from them; nobody comes back until the role may log in again.
  fileprivate func dropSlots() throws {
    try server.psql("ALTER ROLE replicator NOLOGIN")
    try server.psql(
      """
      DO $$BEGIN
        PERFORM pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE active;
        PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
      END$$
      """)
  }
}
