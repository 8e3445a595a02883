import Foundation
import TestSupport
import Testing

/// What an outsider found by using it: each was wrong once.
@Suite(.serialized, .heavy) struct AuditTests {
  private func trimmed(_ result: CommandResult) -> String {
    result.output.trimmingCharacters(in: .newlines)
  }

  /// A branch's moment is told as a time only where it was named by one.
  @Test func branchesOfTheHeadAndOfLSNsHaveNoTimeOfTheirOwn() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"times"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      let uri = created.string("connection_uris.0.connection_uri")
      for round in 1...6 {
        let lsn = trimmed(try platform.psql(uri, "SELECT pg_current_wal_insert_lsn()"))
        try platform.psql(uri, "CREATE TABLE t\(round) (n int)")
        for body in ["{}", #"{"branch":{"parent_lsn":"\#(lsn)"}}"#] {
          let branch = try platform.call("POST", "/projects/\(project)/branches", body)
          #expect(branch.status == 201, "\(branch.text)")
          #expect(branch["branch.parent_timestamp"] == nil, "\(branch.text)")
          try await platform.settle(project)
        }
      }
      let main = created.string("branch.id")
      let lsn = trimmed(try platform.psql(uri, "SELECT pg_current_wal_insert_lsn()"))
      try platform.psql(uri, "CREATE TABLE last (n int)")
      let snapshot = try platform.call(
        "POST", "/projects/\(project)/branches/\(main)/snapshot?lsn=\(lsn)")
      #expect(snapshot["snapshot.timestamp"] == nil, "\(snapshot.text)")
    }
  }

  /// After a restore to an LSN, times before it mean the times before it.
  @Test func timesBeforeARestoredLSNAreNotTheRestoredState() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"twice"}}"#)
      let (project, main) = (created.string("project.id"), created.string("branch.id"))
      try await platform.settle(project)
      let uri = created.string("connection_uris.0.connection_uri")
      try platform.psql(uri, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
      try await Task.sleep(for: .milliseconds(50))
      let time = trimmed(
        try platform.psql(
          uri,
          #"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#
        ))
      try await Task.sleep(for: .milliseconds(50))
      try platform.psql(uri, "INSERT INTO t VALUES (2)")
      let lsn = trimmed(try platform.psql(uri, "SELECT pg_current_wal_insert_lsn()"))
      try platform.psql(uri, "INSERT INTO t VALUES (3)")
      let restored = try platform.call(
        "POST", "/projects/\(project)/branches/\(main)/restore",
        #"{"source_branch_id":"\#(main)","source_lsn":"\#(lsn)","preserve_under_name":"kept"}"#)
      #expect(restored.status == 200, "\(restored.text)")
      try await platform.settle(project)
      #expect(trimmed(try platform.psql(uri, "SELECT count(*) FROM t")) == "2")
      let branch = try platform.call(
        "POST", "/projects/\(project)/branches",
        #"{"branch":{"parent_id":"\#(main)","parent_timestamp":"\#(time)"},"endpoints":[{"type":"read_write"}]}"#
      )
      #expect(branch.status == 201, "\(branch.text)")
      try await platform.settle(project)
      let branchURI = branch.string("connection_uris.0.connection_uri")
      #expect(trimmed(try platform.psql(branchURI, "SELECT count(*) FROM t")) == "1")
    }
  }

  @Test func whatAChangeDoesNotNameStays() async throws {
    try await withPlatform { platform in
      let created = try platform.call(
        "POST", "/projects",
        #"{"project":{"name":"kept","settings":{"allowed_ips":{"ips":["9.9.9.9"]},"quota":{"active_time_seconds":9000}}}}"#
      )
      let project = created.string("project.id")
      try await platform.settle(project)
      let changed = try platform.call(
        "PATCH", "/projects/\(project)",
        #"{"project":{"settings":{"quota":{"written_data_bytes":1000000000}}}}"#)
      #expect(changed.string("project.settings.allowed_ips.ips.0") == "9.9.9.9", "\(changed.text)")
      #expect(changed["project.settings.quota.active_time_seconds"] as? Int == 9000)
      let uri = created.string("connection_uris.0.connection_uri")
      #expect(try platform.psql(uri, "SELECT 1", allowFailure: true).status != 0)
    }
  }

  @Test func settingsThatNoServerStartsWithAreRefused() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"set"}}"#)
      let (project, endpoint) = (created.string("project.id"), created.string("endpoints.0.id"))
      try await platform.settle(project)
      let path = "/projects/\(project)/endpoints/\(endpoint)"
      func patch(_ name: String, _ value: String) throws -> Platform.Answer {
        try platform.call(
          "PATCH", path,
          #"{"endpoint":{"settings":{"pg_settings":{"\#(name)":"\#(value)"}}}}"#)
      }
      for (name, value) in [
        ("work_mem", "banana"), ("work_mem", "8"), ("work_mem", ""),
        ("maintenance_work_mem", "999999GB"), ("statement_timeout", "1'; x"),
        ("timezone", "../../etc/passwd"), ("random_page_cost", "-1"), ("max_connections", "5"),
      ] {
        let answer = try patch(name, value)
        #expect(answer.status == 400, "\(name)=\(value): \(answer.text)")
        #expect(answer.string("message").contains("pg_settings.\(name)"), "\(answer.text)")
      }
      for (name, value, shown) in [
        ("work_mem", "64MB", "64MB"), ("statement_timeout", "5min", "5min"),
        ("timezone", "Europe/Berlin", "Europe/Berlin"), ("random_page_cost", "1.1", "1.1"),
      ] {
        #expect(try patch(name, value).status == 200)
        try await platform.settle(project)
        let uri = created.string("connection_uris.0.connection_uri")
        #expect(trimmed(try platform.psql(uri, "SHOW \(name)")) == shown)
      }
      #expect(
        try platform.call("PATCH", path, #"{"endpoint":{"pooler_enabled":false}}"#).status == 400)
    }
  }

  @Test func passwordsAndDatabasesThatSQLChangedAreTakenOver() async throws {
    try await withPlatform { platform in
      let created = try platform.call(
        "POST", "/projects",
        #"{"project":{"name":"sql","branch":{"role_name":"own","database_name":"dbx"}}}"#)
      let (project, main) = (created.string("project.id"), created.string("branch.id"))
      try await platform.settle(project)
      let uri = created.string("connection_uris.0.connection_uri")
      #expect(
        trimmed(
          try platform.psql(
            uri, "SELECT count(*) FROM pg_database WHERE datname = 'exzodb'")) == "0")
      #expect(
        trimmed(
          try platform.psql(
            uri, "SELECT count(*) FROM pg_roles WHERE rolname = 'exzodb_owner'")) == "0")
      try platform.psql(uri, "CREATE DATABASE by_sql")
      try platform.psql(uri, "ALTER ROLE own PASSWORD 'another-secret-1'")
      let password = created.string("connection_uris.0.connection_parameters.password")
      let other = uri.replacing(password, with: "another-secret-1")
      #expect(!password.isEmpty && other != uri)
      // Failed logins are limited: one try every few seconds.
      var works = false
      for _ in 0..<5 where !works {
        try await Task.sleep(for: .seconds(4))
        works = try platform.psql(other, "SELECT 1", allowFailure: true).status == 0
      }
      #expect(works, "the new password works within 20 s")
      #expect(try platform.psql(uri, "SELECT 1", allowFailure: true).status != 0)
      let listed = try platform.call("GET", "/projects/\(project)/branches/\(main)/databases")
      #expect(listed.text.contains("by_sql"), "\(listed.text)")
      try platform.psql(other, "DROP DATABASE by_sql")
      try await Task.sleep(for: .seconds(7))
      let after = try platform.call("GET", "/projects/\(project)/branches/\(main)/databases")
      #expect(!after.text.contains("by_sql"), "\(after.text)")
    }
  }

  @Test func anotherEmptyStoreIsNotTakenForThisInstallations() async throws {
    try await withPlatform { platform in
      try platform.shutDown()
      let result = try run(
        [
          "timeout", "60", Platform.program, "serve", "--data-dir", "\(platform.directory)/data",
          "--http", "127.0.0.1:\(platform.httpPort)", "--postgres",
          "127.0.0.1:\(platform.postgresPort)", "--object-store",
          "file://\(platform.directory)/other",
        ], allowFailure: true)
      #expect(result.status == 1)
      #expect(result.errorOutput.contains("holds nothing of this installation"))
      try await platform.start()
    }
  }
}
