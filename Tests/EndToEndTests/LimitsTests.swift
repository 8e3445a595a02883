import Foundation
import TestSupport
import Testing

/// A compute's size limits what its server takes, where the machine allows it.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct LimitsTests {
  /// The server's group of memory, as a directory; `nil` where it is in none of ours.
  private func group(of uri: String, _ platform: Platform) throws -> String? {
    // While the session is there: a process that ends is in no group any more.
    let groups = try platform.psql(
      uri,
      #"""
      SELECT pg_backend_pid() AS pid \gset
      \setenv BACKEND :pid
      \! cat /proc/$BACKEND/cgroup
      """#
    ).output
    for line in groups.split(separator: "\n") where line.contains("/exzo-") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      if fields[1] == "memory" { return "/sys/fs/cgroup/memory\(fields[2])" }
      if fields[1].isEmpty { return "/sys/fs/cgroup\(fields[2])" }
    }
    return nil
  }

  private func limit(_ group: String) throws -> Int? {
    for name in ["memory.limit_in_bytes", "memory.max"] {
      guard let bytes = FileManager.default.contents(atPath: "\(group)/\(name)") else { continue }
      return Int(
        String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
    }
    return nil
  }

  @Test func theServerRunsInAGroupOfItsSize() async throws {
    try await withPlatform(environment: ["EXZO_COMPUTE_LIMITS": "memory"]) { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"small"}}"#)
      let project = created.string("project.id")
      try await platform.settle(project)
      let uri = created.string("connection_uris.0.connection_uri")
      guard platform.log.contains("computes are limited to their size") else {
        // Not allowed here: said once, and everything runs.
        #expect(platform.log.contains("computes are not limited to their size"))
        #expect(try group(of: uri, platform) == nil)
        return
      }
      let first = try #require(try group(of: uri, platform))
      #expect(try limit(first) == (1024 + 256) << 20)
      let endpoint = created.string("endpoints.0.id")
      let patched = try platform.call(
        "PATCH", "/projects/\(project)/endpoints/\(endpoint)",
        #"{"endpoint":{"autoscaling_limit_max_cu":0.5}}"#)
      #expect(patched.status == 200, "\(patched.text)")
      try await platform.settle(project)
      let second = try #require(try group(of: uri, platform))
      #expect(try limit(second) == (2048 + 256) << 20)
      _ = try platform.call("POST", "/projects/\(project)/endpoints/\(endpoint)/suspend")
      try await platform.settle(project)
      #expect(access(second, F_OK) != 0, "\(second) is left")
      #expect(try platform.psql(uri, "SELECT 1").output == "1\n")
    }
  }
}
