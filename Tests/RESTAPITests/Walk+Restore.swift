import Foundation
import Testing

extension Walk {
  private static let branch = "/projects/{project_id}/branches/{branch_id}"

  func restores() async throws {
    let main = values["branch_id"] ?? ""
    let shown = try await call("GET", Self.branch)
    let earliest = shown.text("branch", "restore_window", "earliest_lsn")
    try await call(
      "POST", "\(Self.branch)/restore", #"{"source_branch_id":"\#(main)"}"#, status: 400)
    try await call(
      "POST", "\(Self.branch)/restore",
      #"{"source_branch_id":"\#(main)","source_lsn":"\#(earliest)"}"#, status: 400)
    let restored = try await call(
      "POST", "\(Self.branch)/restore",
      #"""
      {"source_branch_id":"\#(main)","source_lsn":"\#(earliest)","preserve_under_name":"before"}
      """#)
    #expect(restored.text("branch", "id") == main)
    let uri = try await call(
      "GET", "/projects/{project_id}/connection_uri",
      query: "?branch_id=\(main)&database_name=exzodb&role_name=exzodb_owner&lsn=\(earliest)")
    #expect(uri.text("uri").contains("options=endpoint%3D\(main)%20exzo_lsn%3A"))
    let page = try await call("GET", "/projects/{project_id}/branches", query: "?search=before")
    let preserved = page.text("branches", "0", "id")
    #expect(page.text("branches", "0", "name") == "before")
    try await call(
      "POST", "\(Self.branch)/restore",
      #"{"source_branch_id":"\#(preserved)","preserve_under_name":"between"}"#)
    try await call("POST", "\(Self.branch)/finalize_restore", status: 412)
  }

  mutating func snapshots() async throws {
    let made = try await call("POST", "\(Self.branch)/snapshot", query: "?name=release%201")
    values["snapshot_id"] = made.text("snapshot", "id")
    try await call(
      "POST", "\(Self.branch)/snapshot",
      query: "?timestamp=2001-01-01T00:00:00Z&expires_at=2999-01-01T00:00:00Z", status: 400)
    try await call("GET", "/projects/{project_id}/snapshots")
    let one = "/projects/{project_id}/snapshots/{snapshot_id}"
    try await call(
      "PATCH", one, #"{"snapshot":{"name":"release","expires_at":"2999-01-01T00:00:00Z"}}"#)
    try await call("PATCH", one, #"{"snapshot":{"expires_at":null}}"#)
    let main = values["branch_id"] ?? ""
    try await call(
      "PUT", "\(Self.branch)/backup_schedule",
      #"""
      {"schedule":[{"frequency":"daily","hour":3,"retention_seconds":86400},
      {"frequency":"weekly","day":7,"kind":"snapshot","time_zone":"Europe/Berlin"}]}
      """#)
    let schedule = try await call("GET", "\(Self.branch)/backup_schedule")
    #expect((schedule.object["schedule"] as? [Any])?.count == 2)
    #expect(schedule.text("schedule", "0", "next_run_at").hasSuffix("T03:00:00Z"))
    try await call(
      "PUT", "\(Self.branch)/backup_schedule", #"{"schedule":[{"frequency":"daily","hour":24}]}"#,
      status: 400)
    try await call(
      "PUT", "\(Self.branch)/backup_schedule", #"{"schedule":[{"frequency":"sometimes"}]}"#,
      status: 400)
    let added = try await call(
      "POST", "\(Self.branch)/backup_schedule/items", #"{"frequency":"hourly"}"#, status: 201)
    values["item_id"] = added.text("schedule", "2", "id")
    try await call("DELETE", "\(Self.branch)/backup_schedule/items/{item_id}")
    try await call("DELETE", "\(Self.branch)/backup_schedule/items/{item_id}", status: 404)
    let look = try await call("POST", "\(one)/restore", #"{"name":"look"}"#)
    #expect(look.text("branch", "name") == "look")
    let restored = try await call(
      "POST", "\(one)/restore", #"{"target_branch_id":"\#(main)","finalize_restore":true}"#)
    values["branch_id"] = restored.text("branch", "id")
    let shown = try await call("GET", Self.branch)
    #expect(shown.text("branch", "name") == "main")
    #expect(shown.text("branch", "restore_status") == "finalized")
    let endpoint = try await call("GET", "/projects/{project_id}/endpoints/{endpoint_id}")
    #expect(endpoint.text("endpoint", "branch_id") == values["branch_id"])
    try await call("POST", "\(Self.branch)/finalize_restore", #"{"name":"unused"}"#)
    for _ in 0..<2 { try await call("DELETE", one, status: 202) }
    try await call("PATCH", one, #"{"snapshot":{"name":"x"}}"#, status: 404)
    try await call("POST", "\(one)/restore", status: 404)
  }

  func schemas() async throws {
    let sql = try await call("GET", "\(Self.branch)/schema", query: "?db_name=exzodb")
    #expect(sql.text("sql").contains("exzodb"))
    let json = try await call("GET", "\(Self.branch)/schema", query: "?db_name=exzodb&format=json")
    #expect(json.object["json"] != nil)
    try await call("GET", "\(Self.branch)/schema", query: "?db_name=none", status: 404)
    try await call("GET", "\(Self.branch)/schema", status: 400)
    let shown = try await call("GET", Self.branch)
    let lsn = shown.text("branch", "restore_window", "latest_lsn")
    try await call(
      "GET", "\(Self.branch)/compare_schema", query: "?db_name=exzodb&base_lsn=\(lsn)")
    try await call(
      "GET", "\(Self.branch)/compare_schema",
      query: "?db_name=exzodb&base_branch_id=\(values["child"] ?? "")")
  }

  func recoveries() async throws {
    let made = try await call(
      "POST", "/projects/{project_id}/branches",
      #"{"branch":{"name":"twin","init_source":"schema-only"},"endpoints":[{"type":"read_write"}]}"#,
      status: 201)
    var other = self
    other.values["branch_id"] = made.text("branch", "id")
    try await other.call("DELETE", Self.branch)
    let back = try await other.call("POST", "\(Self.branch)/recover")
    #expect((back.object["endpoints"] as? [Any])?.count == 1)
    try await other.call("DELETE", Self.branch, query: "?hard_delete=true")
    try await other.call("POST", "\(Self.branch)/recover", status: 412)
  }
}
