import Foundation
import TestSupport
import Testing

/// Servers that hold what their PostgreSQL itself lets nobody into.
@Suite(.serialized, .heavy) struct AttachInvalidTests {
  /// `DROP DATABASE` marks the database before it removes its files; one that was interrupted leaves the mark.
  @Test func aDatabaseThatWasHalfDroppedIsInNobodysWay() async throws {
    try await withPlatform(arguments: AttachTests.opened) { platform in
      var scene = try AttachTests.Scene(platform)
      try Self.leaveHalfDropped("before", on: scene)
      try await scene.attach()
      let base = "/projects/\(scene.project)"
      let listed = try platform.call("GET", "\(base)/branches/\(scene.main)/databases")
      #expect(
        listed.text.contains("\"app\"") && !listed.text.contains("\"before\""), "\(listed.text)")
      try Self.leaveHalfDropped("after", on: scene)
      try await scene.waitUntilFollowed(try scene.mark(1))
      let head = try await scene.branch()
      #expect(try scene.rows(head, "SELECT max(n) FROM marks") == "1")
      #expect(
        try scene.rows(
          head,
          "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE datconnlimit = -2"
        )
          == "after,before")
      let drill = try platform.call("POST", "\(base)/branches/\(scene.main)/drills")
      #expect(drill.status < 300, "\(drill.text)")
      try await Self.expectPassed(drill.string("drill.id"), scene)
    }
  }

  private static func leaveHalfDropped(_ name: String, on scene: AttachTests.Scene) throws {
    try scene.server.psql("CREATE DATABASE \(name)")
    try scene.server.psql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '\(name)'")
  }

  private static func expectPassed(_ drill: String, _ scene: AttachTests.Scene) async throws {
    let path = "/projects/\(scene.project)/drills/\(drill)"
    var last = try scene.platform.call("GET", path)
    for _ in 0..<300 where ["scheduled", "running"].contains(last.string("drill.status")) {
      try await Task.sleep(for: .milliseconds(100))
      last = try scene.platform.call("GET", path)
    }
    #expect(last.string("drill.status") == "passed", "\(last.text)")
  }
}
