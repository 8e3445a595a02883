import Foundation
import TestSupport
import Testing

/// `read_only` endpoints through the front door: standbys that follow, refuse writes, and come back.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct ReadOnlyTests {
  private struct Scene {
    let platform: Platform
    let project: String
    let main: String
    let primary: String
    let uri: String

    init(_ platform: Platform) async throws {
      self.platform = platform
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"read"}}"#)
      #expect(created.status == 201, "\(created.text)")
      project = created.string("project.id")
      main = created.string("branch.id")
      primary = created.string("endpoints.0.id")
      uri = created.string("connection_uris.0.connection_uri")
      try await platform.settle(project)
    }

    func post(_ path: String, _ body: String? = nil, status: Int = 200) async throws
      -> Platform.Answer
    {
      let answer = try platform.call("POST", "/projects/\(project)\(path)", body)
      #expect(answer.status == status, "\(path): \(answer.text)")
      try await platform.settle(project)
      return answer
    }

    func replica(of branch: String? = nil) async throws -> (id: String, uri: String) {
      let body = #"{"endpoint":{"branch_id":"\#(branch ?? main)","type":"read_only"}}"#
      let made = try await post("/endpoints", body, status: 201)
      #expect(made.string("endpoint.type") == "read_only")
      let id = made.string("endpoint.id")
      return (id, try uri(of: id))
    }

    func uri(of endpoint: String) throws -> String {
      try platform.call(
        "GET",
        "/projects/\(project)/connection_uri?endpoint_id=\(endpoint)&database_name=exzodb"
          + "&role_name=exzodb_owner"
      ).string("uri")
    }

    func setConnections(_ count: String, of endpoint: String) throws -> Platform.Answer {
      try platform.call(
        "PATCH", "/projects/\(project)/endpoints/\(endpoint)",
        #"{"endpoint":{"settings":{"pg_settings":{"max_connections":"\#(count)"}}}}"#)
    }

    func value(_ uri: String, _ sql: String) throws -> String {
      try platform.psql(uri, sql).output.trimmingCharacters(in: .newlines)
    }

    /// Waits until the replica answers so; what it did say where it never does.
    func expect(_ uri: String, _ sql: String, _ wanted: String, seconds: Int = 30) async throws {
      var last = ""
      for _ in 0..<(seconds * 10) {
        let answer = try platform.psql(uri, sql, allowFailure: true)
        last = answer.output.trimmingCharacters(in: .newlines) + answer.errorOutput
        if last == wanted { return }
        try await Task.sleep(for: .milliseconds(100))
      }
      Issue.record("\(sql): '\(last)', expected '\(wanted)'")
    }

    /// Directories of replicas on the machine.
    func directories() throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: "\(platform.directory)/data/lines")
        .filter { $0.hasPrefix("ro-") }
    }

    /// The server that works in a replica's data directory, by its first process.
    func server(of line: String) throws -> pid_t {
      let text = try String(
        contentsOfFile: "\(platform.directory)/data/lines/\(line)/pgdata/postmaster.pid",
        encoding: .utf8)
      return try #require(text.split(separator: "\n").first.flatMap { pid_t($0) })
    }
  }

  private func withScene(_ body: (Scene) async throws -> Void) async throws {
    try await withPlatform { try await body(try await Scene($0)) }
  }

  @Test func whatIsWrittenIsReadAndNothingIsWrittenThere() async throws {
    try await withScene { scene in
      try scene.platform.psql(scene.uri, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
      let clock = ContinuousClock.now
      let replica = try await scene.replica()
      print("replica made and settled: \(ContinuousClock.now - clock)")
      // What was committed before is there at once, what comes later soon.
      #expect(try scene.value(replica.uri, "SELECT count(*) FROM t") == "1000")
      try scene.platform.psql(
        scene.uri,
        "CREATE SEQUENCE s; INSERT INTO t SELECT generate_series(1001, 60000);"
          + "CREATE INDEX ON t (id)")
      try await scene.expect(replica.uri, "SELECT count(*) FROM t WHERE id > 0", "60000")
      // Capture and the replica, which has a slot of its own for as long as it is there.
      #expect(try scene.value(scene.uri, "SELECT count(*) FROM pg_stat_replication") == "2")
      let slots = "SELECT count(*) FROM pg_replication_slots WHERE temporary"
      #expect(try scene.value(scene.uri, slots) == "1")
      for attempt in [
        "INSERT INTO t VALUES (0)", "CREATE TABLE u (n int)", "CREATE TEMP TABLE u (n int)",
        "SELECT * FROM t FOR UPDATE LIMIT 1", "SELECT nextval('s')",
        "SET default_transaction_read_only = off; DELETE FROM t",
      ] {
        let outcome = try scene.platform.psql(
          replica.uri, "\\set VERBOSITY sqlstate\n\(attempt)", allowFailure: true)
        #expect(outcome.errorOutput.contains("25006"), "\(attempt): \(outcome.errorOutput)")
      }
      let others = [
        "BEGIN READ WRITE; INSERT INTO t VALUES (0)", "SELECT pg_promote()",
        "SET ROLE exzo_superuser", "SELECT pg_wal_replay_pause()",
      ]
      for attempt in others {
        #expect(
          try scene.platform.psql(replica.uri, attempt, allowFailure: true).status != 0,
          "\(attempt)")
      }
      // A new password is valid at once, an old one no more.
      let reset = try await scene.post(
        "/branches/\(scene.main)/roles/exzodb_owner/reset_password")
      #expect(!reset.string("role.password").isEmpty)
      #expect(try scene.platform.psql(replica.uri, "SELECT 1", allowFailure: true).status != 0)
      #expect(try scene.value(try scene.uri(of: replica.id), "SELECT 1") == "1")
      let pooled = try scene.platform.call(
        "GET",
        "/projects/\(scene.project)/connection_uri?endpoint_id=\(replica.id)&pooled=true"
          + "&database_name=exzodb&role_name=exzodb_owner")
      // Where there is a pooler.
      if pooled.status == 200 {
        #expect(try scene.value(pooled.string("uri"), "SELECT count(*) FROM t") == "60000")
      }
      try await expectGone(scene, replica.id)
    }
  }

  private func expectGone(_ scene: Scene, _ id: String) async throws {
    #expect(try scene.directories().count == 1)
    let gone = try scene.platform.call("DELETE", "/projects/\(scene.project)/endpoints/\(id)")
    #expect(gone.status == 200, "\(gone.text)")
    try await scene.platform.settle(scene.project)
    #expect(try scene.directories() == [])
    #expect(
      try scene.value(
        try scene.uri(of: scene.primary),
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name <> 'exzo_capture'")
        == "0")
  }

  @Test func itOutlastsTheBranchsSleepAndItsOwnServersDeath() async throws {
    try await withScene { scene in
      try scene.platform.psql(scene.uri, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
      let replica = try await scene.replica()
      // The branch's compute sleeps: the replica goes on with what it has.
      _ = try await scene.post("/endpoints/\(scene.primary)/suspend")
      #expect(try scene.value(replica.uri, "SELECT count(*) FROM t") == "1000")
      // Another is opened from history meanwhile.
      let late = try await scene.replica()
      #expect(try scene.value(late.uri, "SELECT count(*) FROM t") == "1000")
      // It wakes, and both follow.
      try scene.platform.psql(scene.uri, "INSERT INTO t VALUES (1001)")
      for uri in [replica.uri, late.uri] {
        try await scene.expect(uri, "SELECT count(*) FROM t", "1001")
      }
      // Their servers are killed.
      for line in try scene.directories() {
        #expect(kill(try scene.server(of: line), SIGKILL) == 0)
      }
      try scene.platform.psql(scene.uri, "INSERT INTO t VALUES (1002)")
      let clock = ContinuousClock.now
      for uri in [replica.uri, late.uri] {
        try await scene.expect(uri, "SELECT count(*) FROM t", "1002")
      }
      print("replicas back after SIGKILL: \(ContinuousClock.now - clock)")
      // serve dies and is started again: the replica was there all the time.
      try scene.platform.kill()
      try await scene.platform.start()
      try scene.platform.psql(scene.uri, "INSERT INTO t VALUES (1003)")
      try await scene.expect(replica.uri, "SELECT count(*) FROM t", "1003")
    }
  }

  @Test func itFollowsItsBranchThroughARestoreAndGoesWithIt() async throws {
    try await withScene { scene in
      try scene.platform.psql(scene.uri, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
      let lsn = try scene.value(scene.uri, "SELECT pg_current_wal_lsn()")
      try scene.platform.psql(scene.uri, "DELETE FROM t WHERE id > 10")
      let replica = try await scene.replica()
      #expect(try scene.value(replica.uri, "SELECT count(*) FROM t") == "10")
      let clock = ContinuousClock.now
      _ = try await scene.post(
        "/branches/\(scene.main)/restore",
        #"{"source_branch_id":"\#(scene.main)","source_lsn":"\#(lsn)"}"#)
      print("restore with a replica: \(ContinuousClock.now - clock)")
      #expect(try scene.value(replica.uri, "SELECT count(*) FROM t") == "1000")
      try scene.platform.psql(scene.uri, "INSERT INTO t VALUES (1001)")
      try await scene.expect(replica.uri, "SELECT count(*) FROM t", "1001")

      // A branch with both; without its own compute first.
      let dev = try await scene.post(
        "/branches", #"{"branch":{"name":"dev"},"endpoints":[{"type":"read_only"}]}"#, status: 201)
      let devURI = dev.string("connection_uris.0.connection_uri")
      #expect(try scene.value(devURI, "SELECT count(*) FROM t") == "1001")
      let id = dev.string("branch.id")
      let writer = try await scene.post(
        "/endpoints", #"{"endpoint":{"branch_id":"\#(id)","type":"read_write"}}"#, status: 201)
      try scene.platform.psql(
        try scene.uri(of: writer.string("endpoint.id")), "INSERT INTO t VALUES (1002)")
      try await scene.expect(devURI, "SELECT count(*) FROM t", "1002")
      let gone = try scene.platform.call("DELETE", "/projects/\(scene.project)/branches/\(id)")
      #expect(gone.status == 200, "\(gone.text)")
      try await scene.platform.settle(scene.project)
      #expect(try scene.directories().count == 1)
      #expect(try scene.platform.psql(devURI, "SELECT 1", allowFailure: true).status != 0)
    }
  }

  @Test func manyChangesArriveWhole() async throws {
    try await withScene { scene in
      try scene.platform.psql(
        scene.uri, "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE log (id bigint)")
      let replica = try await scene.replica()
      let rounds = (0..<200).map { round in
        "INSERT INTO t SELECT g, \(round) FROM generate_series(1, 500) g "
          + "ON CONFLICT (id) DO UPDATE SET n = EXCLUDED.n;"
          + "INSERT INTO log SELECT generate_series(1, 100);"
          + (round % 50 == 49
            ? "TRUNCATE log; ALTER TABLE t ADD COLUMN c\(round) int DEFAULT 7;" : "")
      }
      try scene.platform.psql(scene.uri, rounds.joined(separator: "\n"))
      try scene.platform.psql(scene.uri, "VACUUM FULL t; REINDEX TABLE t")
      let sum = "SELECT count(*), sum(n), sum(c49 + c199) FROM t"
      let wanted = try scene.value(scene.uri, sum)
      try await scene.expect(replica.uri, sum, wanted)
      #expect(try scene.value(replica.uri, "SHOW max_connections") == "100")
      // More connections than the replica was opened for: it is opened anew.
      let patched = try scene.setConnections("150", of: scene.primary)
      #expect(patched.status == 200, "\(patched.text)")
      try await scene.platform.settle(scene.project)
      #expect(try scene.value(scene.uri, "SHOW max_connections") == "150")
      try scene.platform.psql(scene.uri, "INSERT INTO log VALUES (1)")
      try await scene.expect(replica.uri, "SELECT count(*) FROM log", "1")
      #expect(try scene.value(replica.uri, "SHOW max_connections") == "150")
      // Fewer than the branch's server allows cannot be had; the branch's server itself takes fewer.
      let refused = try scene.setConnections("60", of: replica.id)
      #expect(refused.status == 400 && refused.text.contains("150 to 10000"), "\(refused.text)")
      let fewer = try scene.setConnections("40", of: scene.primary)
      #expect(fewer.status == 200, "\(fewer.text)")
      try await scene.platform.settle(scene.project)
      #expect(try scene.value(scene.uri, "SHOW max_connections") == "40")
      try scene.platform.psql(scene.uri, "INSERT INTO log VALUES (2)")
      try await scene.expect(replica.uri, "SELECT count(*) FROM log", "2")
    }
  }
}
