import Foundation
import Testing

extension Walk {
  private static let branch = "/projects/{project_id}/branches/{branch_id}"

  func past() async throws {
    let shown = try await call("GET", Self.branch)
    let latest = shown.text("branch", "restore_window", "latest_lsn")
    let timeline = try await call("GET", "\(Self.branch)/timeline", query: "?buckets=10")
    #expect(timeline.text("timeline", "window", "latest_lsn") == latest)
    try await call("GET", "\(Self.branch)/timeline", query: "?buckets=0", status: 400)
    try await call("GET", "\(Self.branch)/timeline", query: "?from=yesterday", status: 400)
    try await call(
      "GET", "\(Self.branch)/timeline", query: "?from=2999-01-01T00:00:00Z", status: 400)
    try await call("GET", "\(Self.branch)/timeline/event", query: "?lsn=\(latest)", status: 404)
    try await call("GET", "\(Self.branch)/timeline/event", query: "?lsn=x", status: 400)
    let moment = try await call("GET", "\(Self.branch)/moment", query: "?lsn=\(latest)")
    #expect(moment.text("lsn") == latest)
    try await call("GET", "\(Self.branch)/moment", query: "?lsn=FFFF/0", status: 400)
    try await queries(latest)
    try await support()
    try await call("GET", "/consumption_history/transfer")
  }

  private func queries(_ lsn: String) async throws {
    func query(_ sql: String, _ more: String = "", status: Int) async throws {
      try await call(
        "POST", "\(Self.branch)/query",
        #"{"database_name":"exzodb","role_name":"exzodb_owner","query":"\#(sql)"\#(more)}"#,
        status: status)
    }
    // Simulated computes speak no SQL: what is refused before is told, the rest is not there.
    try await query("", status: 400)
    try await query("SELECT 1", #","row_limit":0"#, status: 400)
    try await query("SELECT 1", #","lsn":"0/1","timestamp":"2026-01-01T00:00:00Z""#, status: 400)
    try await query("SELECT 1", status: 503)
    try await call(
      "GET", "\(Self.branch)/compare_rows",
      query: "?db_name=exzodb&role_name=exzodb_owner&table=t", status: 400)
    try await call(
      "GET", "\(Self.branch)/compare_rows",
      query: "?db_name=exzodb&role_name=nobody&table=t&lsn=\(lsn)", status: 404)
  }

  private func support() async throws {
    let made = try await call(
      "POST", "/support/tickets",
      #"{"ticket":{"subject":"slow","text":"why?","includes_bundle":true}}"#, status: 201)
    var walk = self
    walk.values["ticket_id"] = made.text("ticket", "id")
    try await call("POST", "/support/tickets", #"{"ticket":{"subject":"","text":""}}"#, status: 400)
    try await walk.call(
      "POST", "/support/tickets/{ticket_id}/messages", #"{"message":{"text":"more"}}"#)
    try await walk.call(
      "POST", "/support/tickets/{ticket_id}/messages", #"{"message":{"closes":true}}"#)
    walk.values["ticket_id"] = "none"
    try await walk.call(
      "POST", "/support/tickets/{ticket_id}/messages", #"{"message":{"text":"x"}}"#, status: 404)
    try await call("GET", "/support/tickets")
    try await call("GET", "/support/bundle")
  }
}
