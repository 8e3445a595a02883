import Foundation
import TestSupport
import Testing

/// The way back to a database that was dropped, on a server where nothing else happened.
@Suite(.serialized, .heavy) struct DroppedDatabaseTests {
  /// A materialized view that was never filled cannot be counted.
  @Test func whatCannotBeCountedIsNamedInTheTimeline() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "views")
      try platform.psql(scene.uri, "CREATE TABLE t AS SELECT 1 AS n")
      try platform.psql(
        scene.uri, "CREATE MATERIALIZED VIEW empty AS SELECT count(*) FROM t WITH NO DATA")
      try platform.psql(scene.uri, "DROP MATERIALIZED VIEW empty")
      let shown = try platform.exzo(
        ["branches", "timeline", "main", "--project-id", scene.project])
      #expect(shown.output.contains("empty"), "\(shown)")
      // Nor does a setting of the tenant's keep the platform out.
      try platform.psql(scene.uri, "ALTER DATABASE exzodb SET local_preload_libraries = 'nonexist'")
      let schema = try platform.call(
        "GET", "/projects/\(scene.project)/branches/\(scene.main)/schema?db_name=exzodb")
      #expect(schema.status == 200 && schema.text.contains("CREATE TABLE"), "\(schema.text)")
    }
  }

  @Test func aTimeBeforeADropHasTheDatabase() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "dropped")
      try platform.psql(scene.uri, "CREATE DATABASE books")
      let books = scene.uri.replacingOccurrences(of: "/exzodb?", with: "/books?")
      try platform.psql(books, "CREATE TABLE b AS SELECT generate_series(1, 500) AS id")
      let before = try await scene.now()
      try await Task.sleep(for: .milliseconds(1500))
      try platform.psql(scene.uri, "DROP DATABASE books")
      #expect(try platform.psql(books, "SELECT 1", allowFailure: true).status != 0)
      // As a branch, as a session of the past, and in place.
      let branch = try await scene.post(
        "/branches",
        #"{"branch":{"parent_timestamp":"\#(before)"},"endpoints":[{"type":"read_write"}]}"#,
        status: 201)
      let there = branch.string("connection_uris.0.connection_uri")
        .replacingOccurrences(of: "/exzodb?", with: "/books?")
      #expect(try scene.rows(there, "SELECT count(*) FROM b") == "500")
      _ = try await scene.post(
        "/branches/\(scene.main)/restore",
        #"{"source_branch_id":"\#(scene.main)","source_timestamp":"\#(before)","preserve_under_name":"after"}"#
      )
      #expect(try scene.rows(books, "SELECT count(*) FROM b") == "500")
      try platform.psql(books, "INSERT INTO b VALUES (0)")
    }
  }
}
