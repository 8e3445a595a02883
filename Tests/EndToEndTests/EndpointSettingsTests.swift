import Foundation
import TestSupport
import Testing

/// Settings of an endpoint hold for its sessions, and for nobody else's.
@Suite(.serialized, .heavy) struct EndpointSettingsTests {
  @Test func limitsOfAnEndpointDoNotHoldUpThePlatform() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "limits", sql: "CREATE TABLE t AS SELECT 7 AS n")
      let before = try await scene.now()
      let list = try platform.call("GET", "/projects/\(scene.project)/endpoints")
      let endpoint = "/endpoints/\(list.string("endpoints.0.id"))"
      let changed = try platform.call(
        "PATCH", "/projects/\(scene.project)\(endpoint)",
        #"""
        {"endpoint":{"settings":{"pg_settings":{"statement_timeout":"1ms","lock_timeout":"1ms",
        "idle_in_transaction_session_timeout":"1ms"}}}}
        """#)
      #expect(changed.status == 200, "\(changed.text)")
      try await platform.settle(scene.project)
      func check() throws {
        let slow = try platform.psql(scene.uri, "SELECT pg_sleep(1)", allowFailure: true)
        #expect(slow.errorOutput.contains("canceling statement"), "\(slow)")
        #expect(
          try scene.rows(scene.uri, "SET statement_timeout = 0; SELECT n FROM t") == "7")
      }
      try check()
      for call in ["restart", "suspend", "start"] {
        _ = try await scene.post("\(endpoint)/\(call)")
      }
      try check()
      _ = try await scene.post(
        "/branches/\(scene.main)/restore",
        #"{"source_branch_id":"\#(scene.main)","source_timestamp":"\#(before)","preserve_under_name":"old"}"#
      )
      try check()
      let role = try await scene.post(
        "/branches/\(scene.main)/roles", #"{"role":{"name":"late"}}"#, status: 201)
      #expect(role.string("role.name") == "late")
      for name in [".", ".."] {
        let refused = try await scene.post(
          "/branches/\(scene.main)/roles", #"{"role":{"name":"\#(name)"}}"#, status: 400)
        #expect(refused.text.contains("role.name"), "\(refused.text)")
      }
      #expect(
        try scene.rows(
          scene.uri,
          "SET statement_timeout = 0; SELECT count(*) FROM pg_roles WHERE rolname = 'late'")
          == "1")
    }
  }
}
