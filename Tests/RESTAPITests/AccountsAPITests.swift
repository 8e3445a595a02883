import Foundation
import Testing

@testable import RESTAPI

/// Calls whose answers must fit our own document, and the reference where it has the route.
struct CheckedCalls {
  let api: APIInstallation
  private let documents: [(name: String, schema: JSONSchema)]

  init(_ api: APIInstallation) async throws {
    self.api = api
    let own = try JSONSchema(try await api.send("GET", "/api/v2/openapi.json", key: "").data)
    var documents = [(name: "own", schema: own)]
    if let data = RESTAPITests.reference { documents.append(("reference", try JSONSchema(data))) }
    self.documents = documents
  }

  /// - Parameter values: for the pattern's `{…}` segments.
  @discardableResult
  func call(
    _ method: String, _ pattern: String, _ values: [String: String] = [:], query: String = "",
    _ body: String? = nil, status: Int = 200, key: String? = nil
  ) async throws -> APIInstallation.Answer {
    var path = pattern
    for (name, value) in values { path = path.replacingOccurrences(of: "{\(name)}", with: value) }
    let answer = try await api.send(method, "/api/v2\(path)\(query)", body, key: key)
    let text = String(decoding: answer.data, as: UTF8.self)
    #expect(answer.status == status, "\(method) \(path)\(query): \(text)")
    for (name, schema) in documents where schema.routes.contains("\(method) \(pattern)") {
      let problems = schema.problems(answer.json, method: method, pattern: pattern, status: status)
      #expect(problems == [], "\(name): \(method) \(pattern): \(text)")
    }
    return answer
  }

  /// Waits until the project has no operation under way.
  func settle(_ project: String, key: String? = nil) async throws {
    for _ in 0..<400 {
      let answer = try await api.send("GET", "/api/v2/projects/\(project)/operations", key: key)
      let operations = answer.object["operations"] as? [[String: Any]] ?? []
      if operations.allSatisfy({ $0["status"] as? String == "finished" }) { return }
      try await Task.sleep(for: .milliseconds(25))
    }
    Issue.record("operations of '\(project)' do not end")
  }

  func account(_ email: String, plan: String = "pro") async throws -> (id: String, key: String) {
    let made = try await call(
      "POST", "/accounts", [:],
      #"{"account":{"name":"someone","email":"\#(email)","plan":"\#(plan)"}}"#, status: 201)
    return (made.text("account", "id"), made.text("api_key", "key"))
  }
}

@Suite(.serialized) struct AccountsAPITests {
  @Test func accountsPlansAndTheAuditLog() async throws {
    try await APIInstallation.with { api in
      let calls = try await CheckedCalls(api)
      let someone = try await calls.account("someone@example.com", plan: "free")
      try await calls.call("GET", "/accounts", query: "?limit=1")
      try await calls.call("GET", "/accounts/{account_id}", ["account_id": someone.id])
      try await calls.call(
        "PUT", "/plans/{plan_name}", ["plan_name": "team-1"],
        #"""
        {"plan":{"projects_limit":3,"branches_limit":4,"history_retention_seconds_maximum":86400,
        "compute_units_maximum":2,"prices":{"compute_unit_hours":0.25}}}
        """#)
      let plans = try await calls.call("GET", "/plans")
      #expect((plans.object["plans"] as? [Any])?.count == 3)
      try await calls.call(
        "PATCH", "/accounts/{account_id}", ["account_id": someone.id],
        #"{"account":{"plan":"team-1"}}"#)
      let me = try await calls.call("GET", "/users/me", key: someone.key)
      #expect(me.text("plan") == "team-1")
      try await calls.call("GET", "/auth", key: someone.key)
      let project = try await calls.call(
        "POST", "/projects", [:], #"{"project":{"name":"p"}}"#, status: 201, key: someone.key)
      #expect(
        (project.object["project"] as? [String: Any])?["history_retention_seconds"] as? Int
          == 86_400)
      let tooLong = try await calls.call(
        "POST", "/projects", [:], #"{"project":{"history_retention_seconds":86401}}"#, status: 400,
        key: someone.key)
      #expect(tooLong.text("message").contains("0 to 86400 on plan 'team-1'"))
      let log = try await calls.call("GET", "/audit_log", query: "?limit=1", key: someone.key)
      #expect(log.text("entries", "0", "path") == "/api/v2/projects")
      #expect(log.text("entries", "0", "account_id") == someone.id)
      #expect(log.text("entries", "0", "address") == "127.0.0.1")
      #expect(!log.text("pagination", "cursor").isEmpty)
      let all = try await calls.call("GET", "/audit_log")
      #expect((all.object["entries"] as? [Any])?.count == 5)
      try await calls.call("GET", "/accounts", status: 404, key: someone.key)
    }
  }

  /// For every route with an id in it: what is another's answers 404, never 403, and as what never
  /// was.
  @Test func nobodyReachesAnothersObjects() async throws {
    try await APIInstallation.with { api in
      let calls = try await CheckedCalls(api)
      let owner = try await calls.account("owner@example.com")
      let stranger = try await calls.account("stranger@example.com")
      let made = try await api.send(
        "POST", "/api/v2/projects", #"{"project":{}}"#, key: owner.key)
      let own = try await api.send(
        "POST", "/api/v2/projects", #"{"project":{}}"#, key: stranger.key)
      let project = made.text("project", "id")
      try await calls.settle(project, key: owner.key)
      let permission = try await calls.call(
        "POST", "/projects/{project_id}/permissions", ["project_id": project],
        #"{"email":"third@example.com"}"#, key: owner.key)
      var values = [
        "branch_id": made.text("branch", "id"), "endpoint_id": made.text("endpoints", "0", "id"),
        "operation_id": made.text("operations", "0", "id"), "role_name": "exzodb_owner",
        "database_name": "exzodb", "permission_id": permission.text("id"),
        "account_id": owner.id, "plan_name": "free", "snapshot_id": "snap-x", "dump_id": "d",
      ]
      let keys = try await api.send("GET", "/api/v2/api_keys", key: owner.key)
      values["key_id"] = ((keys.json as? [[String: Any]])?.first?["id"] as? Int).map(String.init)
      let bodies = [
        "{}", #"{"project":{"name":"x"}}"#, #"{"branch":{"name":"x"}}"#,
        #"{"endpoint":{"name":"x"}}"#, #"{"role":{"name":"x"}}"#, #"{"email":"x@example.com"}"#,
        #"{"database":{"name":"x","owner_name":"exzodb_owner"}}"#, #"{"account":{"name":"x"}}"#,
        #"{"endpoint":{"branch_id":"\#(values["branch_id"] ?? "")","type":"read_write"}}"#,
        #"{"history_retention_seconds":60,"confirm":true}"#,
        #"""
        {"plan":{"projects_limit":1,"branches_limit":1,"history_retention_seconds_maximum":1,
        "compute_units_maximum":1}}
        """#,
      ]
      var checked = 0
      // The owner's objects below the owner's project, and below the stranger's own.
      for parent in [project, own.text("project", "id")] {
        values["project_id"] = parent
        for route in RouteTable.all(api.plane).routes
        where route.answer != nil && route.segments.contains(where: { $0.hasPrefix("{") }) {
          let isOnlyProject = route.segments.filter { $0.hasPrefix("{") } == ["{project_id}"]
          if parent != project, isOnlyProject { continue }
          // Of the stranger's own objects these exist under the same names.
          if parent != project, !route.segments.contains("{branch_id}"),
            !route.segments.contains("{endpoint_id}"), !route.segments.contains("{operation_id}"),
            !route.segments.contains("{permission_id}")
          {
            continue
          }
          let path = route.segments.map { segment in
            segment.hasPrefix("{")
              ? values[String(segment.dropFirst().dropLast())] ?? "x"
              : String(segment)
          }.joined(separator: "/")
          for body in route.body == nil ? [nil] : bodies.map({ $0 }) as [String?] {
            let query =
              "?database_name=exzodb&role_name=exzodb_owner&db_name=exzodb&table=t&lsn=0/1"
            let answer = try await api.send(
              route.method, "/api/v2/\(path)\(query)", body, key: stranger.key)
            // A body that does not fit the route is refused before anything is looked up.
            #expect(
              answer.status == 404 || (body != nil && answer.status == 400),
              "\(route.method) \(path) \(body ?? ""): \(answer.status) \(answer.text("message"))")
            checked += answer.status == 404 ? 1 : 0
          }
        }
      }
      #expect(checked > 40)
      let still = try await api.send("GET", "/api/v2/projects/\(project)", key: owner.key)
      #expect(still.text("project", "name") == made.text("project", "name"))
      #expect(try await api.send("GET", "/api/v2/users/me", key: owner.key).status == 200)
    }
  }

  @Test func sharingOverTheAPI() async throws {
    try await APIInstallation.with { api in
      let calls = try await CheckedCalls(api)
      let owner = try await calls.account("owner@example.com")
      let friend = try await calls.account("friend@example.com")
      let made = try await api.send(
        "POST", "/api/v2/projects", #"{"project":{"name":"s"}}"#, key: owner.key)
      let values = ["project_id": made.text("project", "id")]
      let path = "/projects/{project_id}/permissions"
      let email = #"{"email":"friend@example.com"}"#
      let grant = try await calls.call("POST", path, values, email, key: owner.key)
      try await calls.call("GET", path, values, key: owner.key)
      let shared = try await calls.call(
        "GET", "/projects/shared", query: "?limit=400&search=S&timeout=1000", key: friend.key)
      #expect(shared.text("projects", "0", "id") == values["project_id"])
      try await calls.call("GET", "/projects/{project_id}", values, key: friend.key)
      try await calls.call("DELETE", "/projects/{project_id}", values, status: 404, key: friend.key)
      func reset() async throws -> APIInstallation.Answer {
        try await api.send(
          "POST",
          "/api/v2/projects/\(made.text("project", "id"))/branches/\(made.text("branch", "id"))"
            + "/roles/exzodb_owner/reset_password", key: friend.key,
          headers: ["Idempotency-Key": "again"])
      }
      try await calls.settle(made.text("project", "id"), key: owner.key)
      let password = try await reset().text("role", "password")
      let again = try await reset().text("role", "password")
      #expect(!password.isEmpty && again == password)
      try await calls.call(
        "DELETE", "\(path)/{permission_id}",
        values.merging(["permission_id": grant.text("id")]) { $1 }, key: owner.key)
      try await calls.call("GET", "/projects/{project_id}", values, status: 404, key: friend.key)
      // Nor is an answer told again.
      let told = try await reset()
      #expect(told.status == 404 && told.text("role", "password").isEmpty, "\(told)")
      try await calls.call("POST", path, values, email, key: owner.key)
      let byBody = try await calls.call("DELETE", path, values, email, key: owner.key)
      #expect(!byBody.text("revoked_at").isEmpty)
      try await calls.call("DELETE", path, values, email, status: 404, key: owner.key)
      try await calls.call("DELETE", path, values, "{}", status: 400, key: owner.key)
      try await onlyTheOwnerRecovers(calls, values, owner: owner.key, friend: friend.key)
    }
  }

  private func onlyTheOwnerRecovers(
    _ calls: CheckedCalls, _ values: [String: String], owner: String, friend: String
  ) async throws {
    try await calls.call(
      "POST", "/projects/{project_id}/permissions", values, #"{"email":"friend@example.com"}"#,
      key: owner)
    try await calls.call("GET", "/projects/{project_id}", values, key: friend)
    try await calls.settle(values["project_id"] ?? "", key: owner)
    try await calls.call("DELETE", "/projects/{project_id}", values, key: owner)
    try await calls.settle(values["project_id"] ?? "", key: owner)
    let path = "/projects/{project_id}/recover"
    try await calls.call("POST", path, values, status: 404, key: friend)
    try await calls.call("POST", path, values, key: owner)
  }

  @Test func retentionAndUseOverTheAPI() async throws {
    try await APIInstallation.with { api in
      let calls = try await CheckedCalls(api)
      let made = try await api.send("POST", "/api/v2/projects", #"{"project":{"name":"u"}}"#)
      let values = ["project_id": made.text("project", "id")]
      try await calls.settle(made.text("project", "id"))
      try await calls.call("GET", "/projects/{project_id}/billing_estimate", values)
      var shown: [String: Any]?
      for _ in 0..<100 where shown?["active_time_seconds"] as? Int ?? 0 < 1 {
        try await Task.sleep(for: .milliseconds(100))
        let project = try await calls.call("GET", "/projects/{project_id}", values)
        shown = project.object["project"] as? [String: Any]
      }
      #expect(shown?["active_time_seconds"] as? Int ?? 0 >= 1)
      let range = "from=2026-01-01T00:00:00Z&to=2026-12-31T00:00:00%2B00:00"
      let today = try #require(shown?["created_at"] as? String).prefix(11)
      let day = "from=\(today)00:00:00Z&to=\(today)23:59:59Z"
      let account = try await calls.call("GET", "/users/me").text("id")
      let metrics =
        "metrics=compute_unit_seconds,root_branch_bytes_month&metrics=written_data_bytes"
      for (path, query) in [
        ("/consumption_history/account", "\(range)&granularity=monthly"),
        ("/consumption_history/account", "\(day)&granularity=hourly&include_v1_metrics=true"),
        ("/consumption_history/projects", "\(day)&granularity=daily&limit=1"),
        (
          "/consumption_history/projects",
          "\(day)&granularity=daily&project_ids=\(values["project_id"] ?? ""),x-y-00000000"
        ),
        (
          "/consumption_history/v2/projects",
          "\(day)&granularity=hourly&\(metrics)&org_id=\(account)"
        ),
        (
          "/consumption_history/v2/branches",
          "\(day)&granularity=daily&\(metrics)&project_ids=\(values["project_id"] ?? "")"
        ),
        ("/consumption/projects", "limit=1000"),
      ] {
        let answer = try await calls.call("GET", path, query: "?\(query)")
        let text = String(decoding: answer.data, as: UTF8.self)
        #expect(text.contains("period_id"), "\(path)?\(query): \(text)")
      }
      for (query, status) in [
        ("\(range)&granularity=hourly", 406), ("granularity=daily", 400), ("\(day)", 400),
        ("\(day)&granularity=yearly", 400), ("\(day)&granularity=daily&org_id=other", 404),
        ("\(day)&granularity=daily&metrics=happiness", 400),
      ] {
        try await calls.call(
          "GET", "/consumption_history/account", query: "?\(query)", status: status)
      }
      // The account is the one organization that there is for it, wherever one can be named.
      let listed = try await calls.call("GET", "/projects", query: "?org_id=\(account)")
      #expect(listed.text("projects", "0", "id") == values["project_id"])
      try await calls.call("GET", "/projects", query: "?org_id=other", status: 404)
      let path = "/projects/{project_id}/retention"
      try await calls.call("GET", path, values, query: "?history_retention_seconds=60")
      try await calls.call(
        "PATCH", "/projects/{project_id}", values,
        #"{"project":{"history_retention_seconds":3600}}"#)
      let pending = try await calls.call("GET", path, values)
      #expect(pending.object["effective_seconds"] as? Int == 604_800)
      try await calls.call("DELETE", "\(path)/pending", values)
      try await calls.call("DELETE", "\(path)/pending", values, status: 412)
      try await calls.call(
        "PUT", path, values, #"{"history_retention_seconds":2592001}"#, status: 400)
      try await calls.call("PUT", path, values, #"{"history_retention_seconds":2592000}"#)
      try await calls.call(
        "PATCH", "/projects/{project_id}", values,
        #"{"project":{"history_retention_seconds":2592001}}"#, status: 400)
    }
  }

  @Test func settingsAreHonouredOrRefusedByName() async throws {
    try await APIInstallation.with { api in
      let calls = try await CheckedCalls(api)
      for (settings, status) in [
        (#"{"allowed_ips":{"ips":["10.0.0.0/8","::1"],"protected_branches_only":true}}"#, 201),
        (#"{"quota":{"active_time_seconds":0,"logical_size_bytes":5}}"#, 201),
        (#"{"allowed_ips":{"ips":["10.0.0.0/99"]}}"#, 400),
        (#"{"quota":{"active_time_seconds":-1}}"#, 400),
        (#"{"block_public_connections":true}"#, 400), (#"{"hipaa":true}"#, 400),
        (#"{"audit_log_level":"base"}"#, 400),
        (#"{"maintenance_window":{"weekdays":[1],"start_time":"01:00","end_time":"02:00"}}"#, 400),
        (#"{"preload_libraries":{"enabled_libraries":["pg_cron"]}}"#, 400),
      ] {
        let answer = try await calls.call(
          "POST", "/projects", [:], #"{"project":{"settings":\#(settings)}}"#, status: status)
        let name = settings.split(separator: "\"")[1]
        if status == 400 { #expect(answer.text("message").contains(name), "\(settings)") }
      }
    }
  }
}
