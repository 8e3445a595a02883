import Foundation
import TestSupport
import Testing

/// The main job with the history in a bucket: `exzo serve --object-store s3://…`.
@Suite(.serialized, .heavy, .needsObjectServer, .needsPostgres(), .needsFUSE, .needsRoot)
struct BucketTests {
  private func withBucket(
    _ more: (String) -> [String] = { _ in [] },
    _ body: (Platform, ObjectServer) async throws -> Void
  ) async throws {
    try await withTemporaryDirectory { directory in
      let server = try await ObjectServer(directory: "\(directory)/s3")
      defer { server.stop() }
      try await withPlatform(
        arguments: ["--object-store", server.url(prefix: "exzo")] + more(directory),
        environment: server.environment
      ) { try await body($0, server) }
    }
  }

  private func bytes(below directory: String) throws -> [String: Data] {
    var found: [String: Data] = [:]
    for path in try FileManager.default.subpathsOfDirectory(atPath: directory) {
      if let data = FileManager.default.contents(atPath: "\(directory)/\(path)") {
        found[path] = data
      }
    }
    return found
  }

  /// Create, write, branch at a moment, suspend, wake; nothing of it readable in the bucket.
  @Test func theMainJobRunsOverABucket() async throws {
    try await withBucket { platform, server in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"far"}}"#)
      #expect(created.status == 201, "\(created.text)")
      let project = created.string("project.id")
      let main = created.string("branch.id")
      let endpoint = created.string("endpoints.0.id")
      let uri = created.string("connection_uris.0.connection_uri")
      try await platform.settle(project)
      try platform.psql(
        uri, "CREATE TABLE orders AS SELECT generate_series(1, 20000) AS id, 'a secret word' AS w")
      let lsn = try platform.psql(uri, "SELECT pg_current_wal_insert_lsn()").output
        .trimmingCharacters(in: .newlines)
      try platform.psql(uri, "DROP TABLE orders; CREATE TABLE later AS SELECT 7 AS n")
      let branch = try platform.call(
        "POST", "/projects/\(project)/branches",
        #"{"branch":{"parent_id":"\#(main)","parent_lsn":"\#(lsn)"},"endpoints":[{"type":"read_write"}]}"#
      )
      #expect(branch.status == 201, "\(branch.text)")
      let branchURI = branch.string("connection_uris.0.connection_uri")
      #expect(try platform.psql(branchURI, "SELECT count(*) FROM orders").output == "20000\n")
      try await platform.settle(project)
      let suspended = try platform.call(
        "POST", "/projects/\(project)/endpoints/\(endpoint)/suspend")
      #expect(suspended.status == 200, "\(suspended.text)")
      try await platform.settle(project)
      #expect(try platform.psql(uri, "SELECT n FROM later").output == "7\n")
      try await aReplicaFollows(platform, project, branch.string("branch.id"), branchURI)
      try credentialsStayOutOfPostgres()
      for (name, data) in try bytes(below: "\(server.directory)/bucket") {
        #expect(!name.contains("lines") && !name.contains("ln-"), "\(name)")
        for word in ["EXZO", "a secret word", "postgres"] {
          #expect(data.range(of: Data(word.utf8)) == nil, "'\(word)' in \(name)")
        }
      }
      #expect(platform.log.contains("KEEP A COPY ELSEWHERE"))
    }
  }

  /// A `read_only` endpoint of a branch in a bucket is opened from there, and follows.
  private func aReplicaFollows(
    _ platform: Platform, _ project: String, _ branch: String, _ uri: String
  ) async throws {
    let made = try platform.call(
      "POST", "/projects/\(project)/endpoints",
      #"{"endpoint":{"branch_id":"\#(branch)","type":"read_only"}}"#)
    #expect(made.status == 201, "\(made.text)")
    try await platform.settle(project)
    let replica = try platform.call(
      "GET",
      "/projects/\(project)/connection_uri?endpoint_id=\(made.string("endpoint.id"))"
        + "&database_name=exzodb&role_name=exzodb_owner"
    ).string("uri")
    #expect(try platform.psql(replica, "SELECT count(*) FROM orders").output == "20000\n")
    try platform.psql(uri, "DELETE FROM orders WHERE id > 10000")
    for attempt in 0..<100 {
      if try platform.psql(replica, "SELECT count(*) FROM orders").output == "10000\n" { break }
      #expect(attempt < 99, "the replica does not follow")
      try await Task.sleep(for: .milliseconds(100))
    }
    let gone = try platform.call(
      "DELETE", "/projects/\(project)/endpoints/\(made.string("endpoint.id"))")
    #expect(gone.status == 200, "\(gone.text)")
    try await platform.settle(project)
  }

  /// No postgres process has been given what opens the bucket.
  private func credentialsStayOutOfPostgres() throws {
    var servers = 0
    for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") where Int(name) != nil
    {
      // Processes come and go while they are looked at.
      guard let command = try? String(contentsOfFile: "/proc/\(name)/comm", encoding: .utf8),
        command.hasPrefix("postgres"),
        let environment = FileManager.default.contents(atPath: "/proc/\(name)/environ")
      else { continue }
      servers += 1
      #expect(environment.range(of: Data(ObjectServer.secretKey.utf8)) == nil)
      for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        #expect(environment.range(of: Data(name.utf8)) == nil)
      }
    }
    #expect(servers > 0)
  }

  /// The first bucket is lost; a copy that was kept of it serves as the store.
  @Test func theSecondBucketTakesOver() async throws {
    try await withTemporaryDirectory { directory in
      let server = try await ObjectServer(directory: "\(directory)/s3")
      defer { server.stop() }
      let second = "file://\(directory)/second"
      try await withPlatform(
        arguments: ["--object-store", server.url(prefix: "exzo"), "--mirror", second],
        environment: server.environment
      ) { platform in
        let created = try platform.call("POST", "/projects", #"{"project":{"name":"twice"}}"#)
        let project = created.string("project.id")
        let uri = created.string("connection_uris.0.connection_uri")
        try await platform.settle(project)
        try platform.psql(uri, "CREATE TABLE kept AS SELECT generate_series(1, 500) AS id")
        let endpoint = created.string("endpoints.0.id")
        _ = try platform.call("POST", "/projects/\(project)/endpoints/\(endpoint)/suspend")
        try await platform.settle(project)
        let exzo = Platform.program
        let mirrored = try run(
          [exzo, "store", "mirror", "--from", server.url(prefix: "exzo"), "--to", second],
          environment: server.environment)
        #expect(mirrored.output.contains("missing    0 "), "\(mirrored.output)")
        for _ in 0..<300 {
          // The first pass does not complete it where something was merged away meanwhile.
          let written = FileManager.default.contents(
            atPath: "\(platform.directory)/data/mirror.json")
          if String(decoding: written ?? Data(), as: UTF8.self).contains("completeAsOf") { break }
          try await Task.sleep(for: .milliseconds(100))
        }
        let status = try run(
          [exzo, "store", "mirror-status", "--data-dir", "\(platform.directory)/data"])
        #expect(status.output.contains("complete   as of"), "\(status.output)")
        // Every object but the keys is lost in the first bucket: reads go to the copy.
        let bucket = "\(server.directory)/bucket/exzo"
        for name in try FileManager.default.subpathsOfDirectory(atPath: bucket)
        where name.contains("00000001-") && !name.hasPrefix("exzo/") {
          try? FileManager.default.removeItem(atPath: "\(bucket)/\(name)")  // a parent may be gone
        }
        #expect(try platform.psql(uri, "SELECT count(*) FROM kept").output == "500\n")
      }
    }
  }
}
