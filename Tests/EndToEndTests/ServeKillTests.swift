import Foundation
import TestSupport
import Testing

/// serve killed at its work: computes go on, operations resume, no commit is lost.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct ServeKillTests {
  @Test func serveKilledUnderLoadLosesNothing() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"load"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      let server = try platform.connection(created.string("connection_uris.0.connection_uri"))
      let workload = DDLWorkload()
      try workload.prepare(on: server)
      let run = WorkloadRun(on: server, seed: 61, workersEach: 2, reconnects: true)
      async let report = run.run([workload], seconds: 15)
      for _ in 0..<3 {
        try await Task.sleep(for: .seconds(3))
        try platform.kill()
        try await platform.start()
      }
      let done = try await report
      #expect(done.reconnects > 0)
      let acknowledged = done.acknowledged[workload.name] ?? [:]
      #expect(try workload.failures(on: server, acknowledged: acknowledged) == [])
      // And so does a branch of the head, made by the serve that came last.
      let branch = try platform.call(
        "POST", "/projects/\(project)/branches", #"{"endpoints":[{"type":"read_write"}]}"#)
      try await platform.settle(project)
      let copy = try platform.connection(branch.string("connection_uris.0.connection_uri"))
      #expect(try workload.failures(on: copy, acknowledged: acknowledged) == [])
    }
  }

  /// As after a power cut: commits lie on local disk only, and nobody connects.
  @Test func whatWasAcknowledgedIsThereAfterServeAndComputeDiedTogether() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"cut"}}"#)
      let (project, main) = (created.string("project.id"), created.string("branch.id"))
      try await platform.settle(project)
      let uri = created.string("connection_uris.0.connection_uri")
      try platform.psql(uri, "CREATE TABLE t (n int)")
      let lsn = try platform.psql(
        uri, "INSERT INTO t SELECT generate_series(1, 100000); SELECT pg_current_wal_insert_lsn()"
      ).output.trimmingCharacters(in: .newlines)
      try platform.lose(deletingData: false)
      try await platform.start()
      func ask() throws -> Platform.Answer {
        try platform.call(
          "POST", "/projects/\(project)/branches",
          #"{"branch":{"parent_id":"\#(main)","parent_lsn":"\#(lsn)"},"endpoints":[{"type":"read_write"}]}"#
        )
      }
      // Asked at once, and again when all has settled.
      for round in 0..<2 {
        var branch = try ask()
        // Right after its start serve may have to say "try again", but never that there is no such moment.
        for _ in 0..<60 where branch.status == 503 {
          try await Task.sleep(for: .seconds(1))
          branch = try ask()
        }
        #expect(branch.status == 201, "round \(round): \(branch.text)")
        try await platform.settle(project)
        let rows = try platform.psql(
          branch.string("connection_uris.0.connection_uri"), "SELECT count(*) FROM t")
        #expect(rows.output == "100000\n", "round \(round)")
      }
      let endpoints = try platform.call("GET", "/projects/\(project)/branches/\(main)/endpoints")
      #expect(endpoints.string("endpoints.0.current_state") == "active", "\(endpoints.text)")
    }
  }

  /// Killed at times spread over the making of a branch.
  @Test func aBranchWhoseServeWasKilledMeanwhileIsFinishedByTheNext() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"resumed"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      let uri = created.string("connection_uris.0.connection_uri")
      try platform.psql(uri, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
      for delay in [0, 60, 150, 300, 600] {
        let branch = try platform.call(
          "POST", "/projects/\(project)/branches",
          #"{"branch":{"name":"after-\#(delay)"},"endpoints":[{"type":"read_write"}]}"#)
        #expect(branch.status == 201, "\(branch.text)")
        try await Task.sleep(for: .milliseconds(delay))
        try platform.kill()
        try await platform.start()
        try await platform.settle(project)
        let found = try platform.call(
          "GET", "/projects/\(project)/branches/\(branch.string("branch.id"))")
        #expect(found.string("branch.current_state") == "ready", "after \(delay) ms: \(found.text)")
        let copy = branch.string("connection_uris.0.connection_uri")
        #expect(
          try platform.psql(copy, "SELECT count(*), sum(n) FROM t").output == "1000|500500\n",
          "after \(delay) ms")
      }
      let branches = try platform.call("GET", "/projects/\(project)/branches")
      #expect((branches["branches"] as? [Any])?.count == 6, "\(branches.text)")
    }
  }

  /// A call to a compute that is opening cannot be taken back; what is under way goes on at the next start.
  @Test func serveEndsWhileAComputeIsOpening() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"stuck"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      let uri = created.string("connection_uris.0.connection_uri")
      try platform.psql(uri, "CREATE TABLE t AS SELECT 7 AS n")
      let endpoint = "/projects/\(project)/endpoints/\(created.string("endpoints.0.id"))"
      _ = try platform.call("POST", "\(endpoint)/suspend")
      try await platform.settle(project)
      _ = try platform.call("POST", "\(endpoint)/start")
      // The agent waits for its server, and serve for the agent.
      let pattern = "postgres -D \(platform.directory)/data/lines/"
      var server: pid_t?
      for _ in 0..<2000 where server == nil {
        server = pid_t(
          try run(["pgrep", "-o", "-f", pattern], allowFailure: true).output
            .trimmingCharacters(in: .newlines))
        usleep(1000)
      }
      let stopped = try #require(server)
      #expect(kill(stopped, SIGSTOP) == 0)
      let clock = ContinuousClock.now
      platform.end(SIGTERM)
      #expect(ContinuousClock.now - clock < .seconds(45))
      #expect(kill(stopped, SIGCONT) == 0)
      try await platform.start()
      try await platform.settle(project)
      #expect(try platform.psql(uri, "SELECT n FROM t").output == "7\n")
    }
  }

  /// Killed at times spread over the removal of a branch's volume.
  @Test func aBranchWhoseServeWasKilledWhileItWasDeletedCanBeRecovered() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"deleted"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      for delay in [0, 12, 16, 24, 35, 60] {
        let made = try platform.call(
          "POST", "/projects/\(project)/branches", #"{"endpoints":[{"type":"read_write"}]}"#)
        try await platform.settle(project)
        let uri = made.string("connection_uris.0.connection_uri")
        try platform.psql(uri, "CREATE TABLE mine AS SELECT generate_series(1, 1000) AS n")
        let path = "/projects/\(project)"
        _ = try platform.call(
          "POST", "\(path)/endpoints/\(made.string("endpoints.0.id"))/suspend")
        try await platform.settle(project)
        let branch = "\(path)/branches/\(made.string("branch.id"))"
        #expect(try platform.call("DELETE", branch).status == 200)
        try await Task.sleep(for: .milliseconds(delay))
        try platform.kill()
        try await platform.start()
        try await platform.settle(project)
        let recovered = try platform.call("POST", "\(branch)/recover")
        #expect(recovered.status == 200, "after \(delay) ms: \(recovered.text)")
        try await platform.settle(project)
        #expect(
          try platform.psql(uri, "SELECT count(*), sum(n) FROM mine").output == "1000|500500\n",
          "after \(delay) ms")
        #expect(try platform.call("DELETE", branch).status == 200)
        try await platform.settle(project)
      }
    }
  }
}

extension Platform {
  /// A connection URI, taken apart for the workloads.
  func connection(_ uri: String) throws -> ServerConnection {
    guard let parts = URLComponents(string: uri), let host = parts.host, let port = parts.port,
      let user = parts.user
    else { throw CommandFailure(description: "take '\(uri)' apart: it is no connection URI") }
    let parameters = (parts.queryItems ?? []).map { ($0.name, $0.value ?? "") }
    return ServerConnection(
      host: host, port: port, user: user, database: String(parts.path.dropFirst()),
      password: parts.password,
      parameters: Dictionary(parameters, uniquingKeysWith: { $1 }))
  }
}
