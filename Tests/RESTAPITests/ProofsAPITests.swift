import Foundation
import Testing

@testable import RESTAPI

/// Verifications, drills and alerts over HTTP.
@Suite(.serialized) struct ProofsAPITests {
  @Test func proofsAreAskedForShownAndTheirOwnersOnly() async throws {
    try await APIInstallation.with { api in
      let calls = try await CheckedCalls(api)
      let created = try await calls.call(
        "POST", "/projects", [:], #"{"project":{"name":"p","durability":"object-store"}}"#,
        status: 201)
      let project = created.text("project", "id")
      #expect(created.text("project", "durability") == "object-store")
      try await calls.settle(project)
      let ids = ["project_id": project, "branch_id": created.text("branch", "id")]
      let refused = try await calls.call(
        "PATCH", "/projects/{project_id}", ids, #"{"project":{"durability":"never"}}"#, status: 400)
      #expect(refused.text("message").contains("'local'"))
      let changed = try await calls.call(
        "PATCH", "/projects/{project_id}", ids, #"{"project":{"durability":"local"}}"#)
      #expect(changed.text("project", "durability") == "local")
      let verification = try await calls.call(
        "POST", "/projects/{project_id}/verifications", ids, status: 201)
      let id = verification.text("verification", "id")
      try await waitUntilDone(
        calls, "/projects/{project_id}/verifications/{verification_id}",
        ids.merging(["verification_id": id]) { $1 }, "verification", "passed")
      try await calls.call("GET", "/projects/{project_id}/verifications", ids, query: "?limit=5")
      try await calls.call("POST", "/verifications", [:], status: 201)
      try await calls.call("GET", "/verifications", [:])
      let drill = try await calls.call(
        "POST", "/projects/{project_id}/branches/{branch_id}/drills", ids, status: 201)
      // Simulated computes open no scratch lines: the drill says so and is kept.
      try await waitUntilDone(
        calls, "/projects/{project_id}/drills/{drill_id}",
        ids.merging(["drill_id": drill.text("drill", "id")]) { $1 }, "drill", "error")
      try await calls.call("GET", "/projects/{project_id}/drills", ids)
      try await calls.call("GET", "/alerts", [:])
      let (_, stranger) = try await calls.account("stranger@example.com")
      for path in ["/alerts", "/verifications"] {
        try await calls.call("GET", path, [:], status: 404, key: stranger)
      }
      for path in ["/projects/{project_id}/drills", "/projects/{project_id}/verifications"] {
        try await calls.call("GET", path, ids, status: 404, key: stranger)
      }
      try await calls.call(
        "GET", "/verifications/{verification_id}", ["verification_id": id], status: 404)
      let metrics = try await api.send("GET", "/metrics", key: "")
      let text = String(decoding: metrics.data, as: UTF8.self)
      #expect(text.contains("exzo_drills_last{status=\"error\"} 1"))
      #expect(text.contains("exzo_verifications_last{status=\"passed\"}"))
    }
  }

  private func waitUntilDone(
    _ calls: CheckedCalls, _ pattern: String, _ values: [String: String], _ name: String,
    _ status: String
  ) async throws {
    for _ in 0..<400 {
      let answer = try await calls.call("GET", pattern, values)
      let found = answer.text(name, "status")
      if !["scheduled", "running"].contains(found) {
        #expect(found == status, "\(String(decoding: answer.data, as: UTF8.self))")
        return
      }
      try await Task.sleep(for: .milliseconds(25))
    }
    Issue.record("\(pattern) does not end")
  }
}
