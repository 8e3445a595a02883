import Foundation
import TestSupport
import Testing

/// The main job through the front door: API, proxy, psql.
@Suite(.serialized, .heavy) struct MainJobTests {
  @Test func aDroppedTableIsBackInABranch() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"shop"}}"#)
      #expect(created.status == 201, "\(created.text)")
      let project = created.string("project.id")
      let main = created.string("branch.id")
      let uri = created.string("connection_uris.0.connection_uri")
      try await platform.settle(project)
      try platform.psql(uri, "CREATE TABLE orders AS SELECT generate_series(1, 1000) AS id")
      let lsn = try platform.psql(uri, "SELECT pg_current_wal_insert_lsn()").output
        .trimmingCharacters(in: .newlines)
      let time = try platform.psql(
        uri,
        #"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#
      ).output.trimmingCharacters(in: .newlines)
      try await Task.sleep(for: .milliseconds(20))
      try platform.psql(uri, "DROP TABLE orders; CREATE TABLE later (n int)")
      for moment in [#""parent_lsn":"\#(lsn)""#, #""parent_timestamp":"\#(time)""#] {
        let branch = try platform.call(
          "POST", "/projects/\(project)/branches",
          #"{"branch":{"parent_id":"\#(main)",\#(moment)},"endpoints":[{"type":"read_write"}]}"#)
        #expect(branch.status == 201, "\(branch.text)")
        let branchURI = branch.string("connection_uris.0.connection_uri")
        #expect(!branchURI.isEmpty, "\(branch.text)")
        let rows = try platform.psql(branchURI, "SELECT count(*) FROM orders").output
        #expect(rows == "1000\n")
        try platform.psql(branchURI, "INSERT INTO orders VALUES (0)")
        #expect(
          try platform.psql(branchURI, "SELECT 1 FROM later", allowFailure: true).status != 0)
        try await platform.settle(project)
      }
      #expect(try platform.psql(uri, "SELECT 1 FROM orders", allowFailure: true).status != 0)
    }
  }

  @Test func suspendedEndpointWakesOnConnectAndOutlivesServe() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"sleepy"}}"#)
      let project = created.string("project.id")
      let endpoint = created.string("endpoints.0.id")
      let uri = created.string("connection_uris.0.connection_uri")
      try await platform.settle(project)
      try platform.psql(uri, "CREATE TABLE t AS SELECT 1 AS n")
      let suspended = try platform.call(
        "POST", "/projects/\(project)/endpoints/\(endpoint)/suspend")
      #expect(suspended.status == 200, "\(suspended.text)")
      try await platform.settle(project)
      #expect(try platform.psql(uri, "SELECT n FROM t").output == "1\n")
      let before = try platform.psql(uri, "SELECT pg_postmaster_start_time()").output
      try platform.kill()
      try await platform.start()
      #expect(try platform.psql(uri, "SELECT pg_postmaster_start_time()").output == before)
    }
  }

  @Test func momentsThatCannotBeOpenedAreRefusedWithTheWindow() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"strict"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      let moments = [
        #""parent_timestamp":"2001-01-01T00:00:00Z""#,
        #""parent_timestamp":"2999-01-01T00:00:00Z""#,
        #""parent_timestamp":"yesterday""#, #""parent_lsn":"0/1""#, #""parent_lsn":"FFFF/0""#,
        #""parent_lsn":"nonsense""#,
        #""parent_lsn":"0/2000000","parent_timestamp":"2026-01-01T00:00:00Z""#,
      ]
      for moment in moments {
        let answer = try platform.call(
          "POST", "/projects/\(project)/branches", #"{"branch":{\#(moment)}}"#)
        #expect(answer.status == 400, "\(moment): \(answer.status) \(answer.text)")
        #expect(!answer.string("message").isEmpty && !answer.string("code").isEmpty)
      }
      #expect(try platform.call("GET", "/projects/no-such-00000000").status == 404)
      #expect(try platform.call("GET", "/projects", key: "wrong").status == 401)
      let second = try run(
        [
          Platform.program, "serve", "--data-dir", "\(platform.directory)/data", "--http",
          "127.0.0.1:0", "--postgres", "127.0.0.1:0",
        ], allowFailure: true)
      #expect(second.status != 0)
      #expect(second.errorOutput.contains("another exzo serve"), "\(second.errorOutput)")
    }
  }
}
