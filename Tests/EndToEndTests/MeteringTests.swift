import Foundation
import TestSupport
import Testing

/// Counting, quotas and addresses through the front door.
@Suite(.serialized, .heavy) struct MeteringTests {
  private struct Project {
    var id: String
    var endpoint: String
    var uri: String
  }

  private func project(_ platform: Platform) async throws -> Project {
    let created = try platform.call("POST", "/projects", #"{"project":{"name":"metered"}}"#)
    let project = Project(
      id: created.string("project.id"), endpoint: created.string("endpoints.0.id"),
      uri: created.string("connection_uris.0.connection_uri"))
    try await platform.settle(project.id)
    return project
  }

  private func counter(_ name: String, _ project: Project, _ platform: Platform) throws -> Int {
    try platform.call("GET", "/projects/\(project.id)")["project.\(name)"] as? Int ?? -1
  }

  /// Waits until the counter holds still for a second and a half.
  private func settled(_ project: Project, _ platform: Platform) async throws -> Int {
    var last = -1
    for _ in 0..<20 {
      let now = try counter("data_transfer_bytes", project, platform)
      if now == last { return now }
      last = now
      try await Task.sleep(for: .milliseconds(1500))
    }
    return last
  }

  @Test func bytesCountOnceAcrossAKill() async throws {
    try await withPlatform { platform in
      let project = try await project(platform)
      try platform.psql(
        project.uri, "CREATE TABLE t AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 2000)"
      )
      let before = try await settled(project, platform)
      try platform.psql(project.uri, "SELECT * FROM t")
      let after = try await settled(project, platform)
      // 2,000 rows of 1,000 bytes and 11 of message and column header each, and the rest of a
      // session.
      #expect((2_022_000...2_026_000).contains(after - before), "\(after - before)")
      try platform.kill()
      try await platform.start()
      #expect(try await settled(project, platform) == after)
      try platform.psql(project.uri, "SELECT * FROM t")
      let again = try await settled(project, platform)
      #expect(abs((again - after) - (after - before)) < 200, "\(again - after)")
      let dump = try run(
        ["/usr/lib/postgresql/15/bin/pg_dump", "-f", "/dev/null", project.uri], allowFailure: true)
      #expect(dump.status == 0, "\(dump.errorOutput)")
      _ = try await settled(project, platform)
      let metrics = try platform.curl([platform.url("/metrics")]).output
      let line = metrics.split(separator: "\n").first {
        $0.hasPrefix("exzo_data_transfer_bytes_total{kind=\"dump\"}")
      }
      let dumped = try #require(line?.split(separator: " ").last.flatMap { Int($0) })
      #expect(dumped > 2_000_000)
      #expect(try counter("active_time_seconds", project, platform) > 3)
      #expect(try counter("written_data_bytes", project, platform) > 2_000_000)
    }
  }

  @Test func aQuotaThatIsUsedUpSuspendsAndTellsClientsWhy() async throws {
    try await withPlatform { platform in
      let project = try await project(platform)
      let path = "/projects/\(project.id)"
      func set(_ settings: String) throws {
        let answer = try platform.call("PATCH", path, #"{"project":{"settings":\#(settings)}}"#)
        #expect(answer.status == 200, "\(answer.text)")
      }
      try set(#"{"quota":{"active_time_seconds":1}}"#)
      var state = ""
      for _ in 0..<100 where state != "idle" {
        state = try platform.call("GET", "\(path)/endpoints/\(project.endpoint)")
          .string("endpoint.current_state")
        try await Task.sleep(for: .milliseconds(100))
      }
      #expect(state == "idle")
      let refused = try platform.psql(project.uri, "SELECT 1", allowFailure: true)
      #expect(refused.status != 0)
      #expect(
        refused.errorOutput.contains("project.settings.quota.active_time_seconds is 1"),
        "\(refused.errorOutput)")
      let start = try platform.call("POST", "\(path)/endpoints/\(project.endpoint)/start")
      #expect(start.status == 412 && start.string("code") == "quota_exceeded", "\(start.text)")
      try set(#"{"quota":{"active_time_seconds":0}}"#)
      #expect(try platform.psql(project.uri, "SELECT 1").output == "1\n")
      // Addresses: refused by name, allowed by block.
      try set(#"{"allowed_ips":{"ips":["192.0.2.0/24"]}}"#)
      let stranger = try platform.psql(project.uri, "SELECT 1", allowFailure: true)
      #expect(
        stranger.errorOutput.contains("connections from 127.0.0.1 are not allowed"),
        "\(stranger.errorOutput)")
      try set(#"{"allowed_ips":{"ips":["192.0.2.0/24","127.0.0.0/8"]}}"#)
      #expect(try platform.psql(project.uri, "SELECT 1").output == "1\n")
    }
  }

  @Test func aMomentOfABranchWithoutAnEndpointCountsAndHasLimits() async throws {
    try await withPlatform { platform in
      let project = try await project(platform)
      try platform.psql(
        project.uri, "CREATE TABLE t AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 2000)"
      )
      let made = try platform.call("POST", "/projects/\(project.id)/branches")
      #expect(made.status == 201, "\(made.text)")
      try await platform.settle(project.id)
      let (branch, lsn) = (made.string("branch.id"), made.string("branch.parent_lsn"))
      var parts = try #require(URLComponents(string: project.uri))
      parts.queryItems = [
        URLQueryItem(name: "sslmode", value: "require"),
        URLQueryItem(name: "options", value: "endpoint=\(branch) exzo_lsn:\(lsn)"),
      ]
      let uri = try #require(parts.string)
      let before = try await settled(project, platform)
      try platform.psql(uri, "SELECT * FROM t")
      let after = try await settled(project, platform)
      #expect(after - before > 2_000_000, "\(after - before)")
      #expect(
        try platform.psql(uri, "SHOW idle_in_transaction_session_timeout").output == "5min\n")
      let quota = #"{"project":{"settings":{"quota":{"data_transfer_bytes":1000}}}}"#
      let set = try platform.call("PATCH", "/projects/\(project.id)", quota)
      #expect(set.status == 200, "\(set.text)")
      let refused = try platform.psql(uri, "SELECT 1", allowFailure: true)
      #expect(
        refused.errorOutput.contains("project.settings.quota.data_transfer_bytes is 1000"),
        "\(refused.errorOutput)")
    }
  }

  @Test func manyClientsShareFewSessionsThroughThePooler() async throws {
    try await withPlatform { platform in
      let project = try await project(platform)
      let answer = try platform.call(
        "GET",
        "/projects/\(project.id)/connection_uri?database_name=exzodb&role_name=exzodb_owner&pooled=True"
      )
      let uri = answer.string("uri")
      #expect(uri.contains("-pooler"), "\(answer.text)")
      #expect(try platform.psql(uri, "SELECT 1").output == "1\n")
      let bench = try run(
        [
          "/usr/lib/postgresql/15/bin/pgbench", "-n", "-c", "90", "-j", "2", "-t", "5", "-f",
          "/dev/stdin", uri,
        ], input: "SELECT 1;\n", allowFailure: true)
      #expect(bench.status == 0, "\(bench.errorOutput)")
      let sessions = try platform.psql(
        project.uri, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'exzodb_owner'"
      ).output
      let count = try #require(Int(sessions.trimmingCharacters(in: .newlines)))
      #expect((2...41).contains(count))
      // What is not there is told as the server tells it, and soon.
      let asked = Date()
      let missing = try run(
        ["psql", uri.replacing("/exzodb?", with: "/never?"), "-c", "SELECT 1"], allowFailure: true)
      #expect(
        missing.errorOutput.contains("database \"never\" does not exist"), "\(missing.errorOutput)")
      #expect(Date().timeIntervalSince(asked) < 10)
      // A new password is known to a pooler that runs.
      let reset = try platform.call("POST", try resetPath(project, platform))
      #expect(reset.status == 200, "\(reset.text)")
      try await platform.settle(project.id)
      let fresh = try platform.call(
        "GET",
        "/projects/\(project.id)/connection_uri?database_name=exzodb&role_name=exzodb_owner&pooled=True"
      ).string("uri")
      #expect(fresh != uri)
      #expect(try platform.psql(fresh, "SELECT 2").output == "2\n")
      // Suspended, it wakes through the pooler, too.
      let suspended = try platform.call(
        "POST", "/projects/\(project.id)/endpoints/\(project.endpoint)/suspend")
      #expect(suspended.status == 200)
      try await platform.settle(project.id)
      #expect(try platform.psql(fresh, "SELECT 3").output == "3\n")
    }
  }

  private func resetPath(_ project: Project, _ platform: Platform) throws -> String {
    let branch = try platform.call("GET", "/projects/\(project.id)/branches")
      .string("branches.0.id")
    return "/projects/\(project.id)/branches/\(branch)/roles/exzodb_owner/reset_password"
  }

  @Test func theOperatorsVerbsWorkAndDoctorSeesWhatIsWrong() async throws {
    try await withPlatform { platform in
      let key = try platform.key
      func exzo(_ arguments: [String], status: Int32 = 0) throws -> String {
        let result = try platform.exzo(arguments, status: status, key: key)
        return result.output + result.errorOutput
      }
      let made = try exzo([
        "accounts", "create", "--name", "n", "--email", "n@example.com", "--plan", "pro",
      ])
      #expect(made.contains("exzo_"))
      #expect(try exzo(["accounts", "list"]).contains("n@example.com"))
      #expect(try exzo(["accounts", "plans"]).contains("2592000 s"))
      _ = try exzo([
        "accounts", "set-plan", "big", "--projects", "9", "--branches", "9", "--retention", "60",
        "--compute-units", "4", "--price", "compute_unit_hours=0.5",
      ])
      #expect(try exzo(["accounts", "audit-log"]).contains("PUT /api/v2/plans/big"))
      #expect(try exzo(["api-keys", "create", "--name", "k", "-o", "json"]).contains("\"key\""))
      #expect(try exzo(["status"]).contains("yes"))
      _ = try exzo(["projects", "create", "--name", "p", "--no-wait"])
      #expect(try exzo(["projects", "retention", "show", "--seconds", "60"]).contains("604800 s"))
      #expect(try exzo(["projects", "estimate"]).contains("compute_unit_hours"))
      let doctor = try exzo(["doctor", "--data-dir", "\(platform.directory)/data"])
      #expect(!doctor.contains("WRONG"), "\(doctor)")
      chmod("\(platform.directory)/data/api-key", 0o644)
      let ill = try exzo(["doctor", "--data-dir", "\(platform.directory)/data"], status: 1)
      #expect(ill.contains("WRONG") && ill.contains("chmod 600"), "\(ill)")
    }
  }
}
