import Foundation
import TestSupport
import Testing

extension AttachTests {
  /// A server elsewhere with a database `app`, and the project that follows it.
  struct Scene {
    var platform: Platform
    let server: StockServer
    var project = ""
    var main = ""

    init(
      _ platform: Platform, settings: [String] = [], initdbOptions: [String] = [],
      prepare: (StockServer) throws -> Void = { _ in }
    ) throws {
      self.platform = platform
      server = try StockServer(
        in: "\(platform.directory)/elsewhere", settings: settings, initdbOptions: initdbOptions,
        tcpPort: try unusedPort())
      try prepare(server)
      try server.start()
      try server.psql(
        """
        CREATE ROLE app LOGIN PASSWORD 'theirs';
        CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'copy me';
        CREATE DATABASE app;
        CREATE DATABASE model IS_TEMPLATE true;
        """)
      try app.psql(
        """
        CREATE TABLE marks (n int PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
        CREATE UNLOGGED TABLE fleeting (n int); INSERT INTO fleeting VALUES (1);
        CREATE SCHEMA "Größe" AUTHORIZATION app; CREATE TYPE mood AS ENUM ('so', 'la la');
        CREATE TABLE "Größe".t (id serial PRIMARY KEY, m mood DEFAULT 'so', note text);
        ALTER TABLE "Größe".t OWNER TO app;
        INSERT INTO "Größe".t (note) SELECT repeat(md5(n::text), 90) FROM generate_series(1, 500) AS n;
        CREATE FUNCTION danger() RETURNS text LANGUAGE sql SECURITY DEFINER
          AS 'SELECT current_user::text';
        CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
        CREATE VIEW v AS SELECT count(*) FROM marks; SELECT lo_from_bytea(0, '\\x00ff');
        """)
      try app.pgbench(["-i", "-q", "-s", "2"])
      try app.psql(
        """
        CREATE EVENT TRIGGER never ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
          EXECUTE FUNCTION noted()
        """)
    }

    var app: ServerConnection { server.connection.with(database: "app") }
    var source: String {
      "postgresql://replicator:copy%20me@127.0.0.1:\(server.port)/app?sslmode=disable"
    }

    mutating func attach() async throws {
      let body = #"{"source":{"connection_string":"\#(source)"},"project":{"name":"theirs"}}"#
      let answer = try platform.call("POST", "/projects/attach", body)
      #expect(answer.status == 201, "\(answer.text)")
      project = answer.string("project.id")
      main = answer.string("branch.id")
      #expect(!answer.text.contains("copy me"))
      try await platform.settle(project)
    }

    /// Adds a mark; the LSN after which it is there.
    func mark(_ number: Int) throws -> String {
      try app.psql("INSERT INTO marks VALUES (\(number)); SELECT pg_current_wal_insert_lsn()")
    }

    func attachment() throws -> Platform.Answer {
      try platform.call("GET", "/projects/\(project)/attachment")
    }

    /// A writable branch of a moment; the URI of its database.
    func branch(_ moment: String = "") async throws -> String {
      let body =
        #"{"branch":{"name":"b\#(UUID().uuidString.prefix(8))"\#(moment)},"#
        + #""endpoints":[{"type":"read_write"}]}"#
      let answer = try platform.call("POST", "/projects/\(project)/branches", body)
      #expect(answer.status == 201, "\(answer.text)")
      try await platform.settle(project)
      return answer.string("connection_uris.0.connection_uri")
    }

    func rows(_ uri: String, _ sql: String) throws -> String {
      try platform.psql(uri, sql).output.trimmingCharacters(in: .newlines)
    }

    /// What pgbench's tables hold: three sums that must be equal, and the transactions.
    static let sums = """
      SELECT sum(abalance) = (SELECT sum(tbalance) FROM pgbench_tellers)
        AND sum(abalance) = (SELECT sum(delta) FROM pgbench_history),
        sum(abalance), (SELECT count(*) FROM pgbench_history) FROM pgbench_accounts
      """

    /// The process that follows.
    func followerProcess() throws -> pid_t {
      let pattern = "agent --directory \(platform.directory)/data/lines/\(try following())"
      let pids = try run(["pgrep", "-f", pattern]).output.split(separator: "\n")
      #expect(pids.count == 1)
      return try #require(pids.first.flatMap { Int32($0) })
    }

    func killFollower() throws { #expect(kill(try followerProcess(), SIGKILL) == 0) }

    /// How a session reads a past moment of the server's branch, as the role of a branch's URI.
    func pastURI(_ branchURI: String, lsn: String) -> String {
      guard var parts = URLComponents(string: branchURI) else { return branchURI }
      parts.host = "127.0.0.1"
      parts.queryItems = [
        URLQueryItem(name: "sslmode", value: "require"),
        URLQueryItem(name: "options", value: "endpoint=\(main) exzo_lsn:\(lsn)"),
      ]
      return parts.string ?? branchURI
    }

    /// Waits until the line that follows has so many keyframes in the store.
    func waitForKeyframes(_ count: Int) async throws {
      // A standby that could not come up is tried again after half a minute.
      for _ in 0..<36 {
        try server.psql("CHECKPOINT")
        for _ in 0..<50 {
          if try storedKeyframes().count >= count { return }
          try await Task.sleep(for: .milliseconds(100))
        }
      }
      throw CommandFailure(description: "fewer than \(count) keyframes of line \(try following())")
    }

    /// Of the line that follows.
    func storedKeyframes() throws -> [String] {
      try FileManager.default.contentsOfDirectory(
        atPath: "\(platform.directory)/data/objects/objects/lines/\(try following())/keyframes")
    }

    /// The line that follows.
    private func following() throws -> String {
      let lines = "\(platform.directory)/data/lines"
      let found = try FileManager.default.contentsOfDirectory(atPath: lines).first { line in
        let bytes = FileManager.default.contents(atPath: "\(lines)/\(line)/compute.json")
        return String(decoding: bytes ?? Data(), as: UTF8.self).contains("\"source\"")
      }
      return try #require(found, "nothing follows")
    }

    func waitUntilFollowed(_ lsn: String) async throws {
      for _ in 0..<300 {
        let answer = try attachment()
        let stored = answer.string("attachment.stored_lsn")
        if !stored.isEmpty,
          try server.psql("SELECT '\(stored)'::pg_lsn >= '\(lsn)'::pg_lsn") == "t"
        {
          return
        }
        try await Task.sleep(for: .milliseconds(100))
      }
      throw CommandFailure(description: "not followed to \(lsn): \(try attachment().text)")
    }
  }
}
