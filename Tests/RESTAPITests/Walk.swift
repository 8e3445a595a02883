import Foundation
import Testing

/// A walk through all routes that are built, each answer checked against the documents.
struct Walk {
  let api: APIInstallation
  let own: JSONSchema
  let reference: JSONSchema?
  var values: [String: String] = [:]

  init(api: APIInstallation, own: JSONSchema, reference: JSONSchema?) {
    self.api = api
    self.own = own
    self.reference = reference
  }

  @discardableResult
  func call(
    _ method: String, _ pattern: String, _ body: String? = nil, query: String = "",
    status: Int = 200
  ) async throws -> APIInstallation.Answer {
    var path = pattern
    for (name, value) in values { path = path.replacingOccurrences(of: "{\(name)}", with: value) }
    let answer = try await api.send(method, "/api/v2\(path)\(query)", body)
    let text = String(decoding: answer.data, as: UTF8.self)
    #expect(answer.status == status, "\(method) \(path)\(query): \(text)")
    let problems = own.problems(answer.json, method: method, pattern: pattern, status: status)
    #expect(problems == [], "\(method) \(pattern): \(text)")
    if let reference, reference.routes.contains("\(method) \(pattern)") {
      let differences = reference.problems(
        answer.json, method: method, pattern: pattern, status: status)
      #expect(differences == [], "reference, \(method) \(pattern): \(text)")
    }
    if let operations = answer.object["operations"] as? [[String: Any]], method != "GET" {
      for operation in operations { try await finish(operation["id"] as? String ?? "") }
    }
    return answer
  }

  private func finish(_ operation: String) async throws {
    for _ in 0..<400 {
      let answer = try await api.send(
        "GET", "/api/v2/projects/\(values["project_id"] ?? "")/operations/\(operation)")
      switch answer.text("operation", "status") {
      case "finished": return
      case "scheduling", "running": try await Task.sleep(for: .milliseconds(25))
      default:
        Issue.record("operation failed: \(answer.text("operation", "error"))")
        return
      }
    }
    Issue.record("operation '\(operation)' did not end")
  }

  mutating func run() async throws {
    try await account()
    try await projects()
    try await branches()
    try await rolesAndDatabases()
    try await endpoints()
    try await restores()
    try await snapshots()
    try await dumps()
    try await schemas()
    try await past()
    try await recoveries()
    try await deletions()
  }

  private mutating func account() async throws {
    try await call("GET", "/users/me")
    try await call("GET", "/users/me/organizations")
    try await call("GET", "/auth")
    try await call("GET", "/regions")
    let made = try await call("POST", "/api_keys", #"{"key_name":"ci"}"#)
    #expect(try await api.send("GET", "/api/v2/projects", key: made.text("key")).status == 200)
    try await call("GET", "/api_keys")
    values["key_id"] = (made.object["id"] as? Int).map(String.init)
    try await call("DELETE", "/api_keys/{key_id}")
    try await call("DELETE", "/api_keys/{key_id}")
    #expect(try await api.send("GET", "/api/v2/projects", key: made.text("key")).status == 401)
  }

  private mutating func projects() async throws {
    let made = try await api.send("POST", "/api/v2/projects", #"{"project":{"name":"shop"}}"#)
    values["project_id"] = made.text("project", "id")
    values["branch_id"] = made.text("branch", "id")
    values["endpoint_id"] = made.text("endpoints", "0", "id")
    values["operation_id"] = made.text("operations", "0", "id")
    #expect(made.text("branch", "name") == "main")
    for document in [own, reference].compactMap({ $0 }) {
      #expect(
        document.problems(made.json, method: "POST", pattern: "/projects", status: 201) == [])
    }
    for operation in made.object["operations"] as? [[String: Any]] ?? [] {
      try await finish(operation["id"] as? String ?? "")
    }
    try await call("GET", "/projects", query: "?search=SHO&limit=400")
    try await call("GET", "/projects/{project_id}")
    try await call("PATCH", "/projects/{project_id}", #"{"project":{"name":"store"}}"#)
    try await call("GET", "/projects/{project_id}/operations", query: "?limit=1")
    try await call("GET", "/projects/{project_id}/operations/{operation_id}")
    let uri = try await call(
      "GET", "/projects/{project_id}/connection_uri",
      query: "?database_name=exzodb&role_name=exzodb_owner")
    #expect(uri.text("uri") == made.text("connection_uris", "0", "connection_uri"))
  }

  private mutating func branches() async throws {
    let plain = try await call("POST", "/projects/{project_id}/branches", status: 201)
    #expect(plain.object["endpoints"] as? [String] == [])
    try await call(
      "POST", "/projects/{project_id}/branches",
      #"{"branch":{"name":"dev"},"endpoints":[{"type":"read_write"}],"annotation_value":{"a":"b"}}"#,
      status: 201)
    var query = "?limit=1&sort_by=name&sort_order=asc"
    var names: [String] = []
    while true {
      let page = try await call("GET", "/projects/{project_id}/branches", query: query)
      names.append(page.text("branches", "0", "name"))
      let next = page.text("pagination", "next")
      if next.isEmpty { break }
      let escaped = next.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
      query = "?limit=1&sort_by=name&sort_order=asc&cursor=\(escaped)"
    }
    #expect(names.count == 3)
    #expect(names == names.sorted())
    try await call("GET", "/projects/{project_id}/branches/count", query: "?search=dev")
    let shown = try await call("GET", "/projects/{project_id}/branches/{branch_id}")
    #expect(shown.text("branch", "restore_window", "earliest_lsn").contains("/"))
    let child = plain.text("branch", "id")
    let main = values["branch_id"]
    values["branch_id"] = child
    try await call(
      "PATCH", "/projects/{project_id}/branches/{branch_id}",
      #"{"branch":{"name":"renamed","expires_at":"2999-01-01T00:00:00Z"}}"#)
    try await call(
      "PATCH", "/projects/{project_id}/branches/{branch_id}", #"{"branch":{"expires_at":null}}"#)
    try await call("POST", "/projects/{project_id}/branches/{branch_id}/set_as_default")
    values["branch_id"] = main
    try await call("POST", "/projects/{project_id}/branches/{branch_id}/set_as_primary")
    values["child"] = child
  }

  private mutating func rolesAndDatabases() async throws {
    let branch = "/projects/{project_id}/branches/{branch_id}"
    try await call("POST", "\(branch)/roles", #"{"role":{"name":"app user"}}"#, status: 201)
    values["role_name"] = "app%20user"
    try await call("GET", "\(branch)/roles")
    try await call("GET", "\(branch)/roles/{role_name}")
    let reset = try await call("POST", "\(branch)/roles/{role_name}/reset_password")
    for method in ["GET", "POST"] {
      let shown = try await call(method, "\(branch)/roles/{role_name}/reveal_password")
      #expect(shown.text("password") == reset.text("role", "password"))
    }
    try await call(
      "POST", "\(branch)/databases", #"{"database":{"name":"d","owner_name":"app user"}}"#,
      status: 201)
    values["database_name"] = "d"
    try await call("GET", "\(branch)/databases")
    try await call("GET", "\(branch)/databases/{database_name}")
    try await call("DELETE", "\(branch)/roles/{role_name}", status: 412)
    try await call(
      "PATCH", "\(branch)/databases/{database_name}",
      #"{"database":{"owner_name":"exzodb_owner"}}"#)
    try await call(
      "PATCH", "\(branch)/databases/{database_name}", #"{"database":{"name":"renamed"}}"#)
    values["database_name"] = "renamed"
    try await call("GET", "\(branch)/databases/{database_name}")
    // Also while the branch sleeps: the name is free at once.
    try await call("POST", "/projects/{project_id}/endpoints/{endpoint_id}/suspend")
    try await call("DELETE", "\(branch)/databases/{database_name}")
    try await call(
      "POST", "\(branch)/databases",
      #"{"database":{"name":"renamed","owner_name":"exzodb_owner"}}"#, status: 201)
    for _ in 0..<2 { try await call("DELETE", "\(branch)/databases/{database_name}") }
    for _ in 0..<2 { try await call("DELETE", "\(branch)/roles/{role_name}") }
    try await call("GET", "\(branch)/roles/{role_name}", status: 404)
  }

  private mutating func endpoints() async throws {
    let endpoint = "/projects/{project_id}/endpoints/{endpoint_id}"
    try await call("GET", "/projects/{project_id}/endpoints")
    try await call("GET", "/projects/{project_id}/capture")
    try await call("GET", "/projects/{project_id}/branches/{branch_id}/endpoints")
    try await call("GET", endpoint)
    try await call("POST", "\(endpoint)/suspend")
    try await call("POST", "\(endpoint)/suspend")
    try await call("POST", "\(endpoint)/start")
    try await call("POST", "\(endpoint)/restart")
    try await call(
      "PATCH", endpoint,
      #"{"endpoint":{"suspend_timeout_seconds":60,"autoscaling_limit_max_cu":1}}"#)
    try await call(
      "POST", "/projects/{project_id}/endpoints",
      #"{"endpoint":{"branch_id":"\#(values["branch_id"] ?? "")","type":"read_write"}}"#,
      status: 409)
    try await call(
      "POST", "/projects/{project_id}/endpoints",
      #"{"endpoint":{"branch_id":"\#(values["child"] ?? "")","type":"read_write"}}"#, status: 201)
    try await replicas()
  }

  private mutating func replicas() async throws {
    let primary = values["endpoint_id"]
    let made = try await call(
      "POST", "/projects/{project_id}/endpoints",
      #"{"endpoint":{"branch_id":"\#(values["branch_id"] ?? "")","type":"read_only"}}"#, status: 201
    )
    #expect(made.text("endpoint", "type") == "read_only")
    values["endpoint_id"] = made.text("endpoint", "id")
    let endpoint = "/projects/{project_id}/endpoints/{endpoint_id}"
    for verb in ["suspend", "start", "restart"] { try await call("POST", "\(endpoint)/\(verb)") }
    try await call("PATCH", endpoint, #"{"endpoint":{"autoscaling_limit_max_cu":1}}"#)
    let uri = try await call(
      "GET", "/projects/{project_id}/connection_uri",
      query:
        "?endpoint_id=\(values["endpoint_id"] ?? "")&database_name=exzodb&role_name=exzodb_owner")
    #expect(uri.text("uri").contains(values["endpoint_id"] ?? "none"))
    for _ in 0..<2 { try await call("DELETE", endpoint) }
    values["endpoint_id"] = primary
    let both = try await call(
      "POST", "/projects/{project_id}/branches",
      #"""
      {"branch":{"name":"both"},"endpoints":[{"type":"read_only"},{"type":"read_write"}]}
      """#, status: 201)
    #expect(both.text("endpoints", "0", "type") == "read_write")
    #expect(both.text("endpoints", "1", "type") == "read_only")
    try await call(
      "POST", "/projects/{project_id}/branches",
      #"{"endpoints":[{"type":"read_write"},{"type":"read_write"}]}"#, status: 409)
  }

  private mutating func deletions() async throws {
    let endpoint = "/projects/{project_id}/endpoints/{endpoint_id}"
    for _ in 0..<2 { try await call("DELETE", endpoint) }
    try await call("GET", endpoint, status: 404)
    // A new endpoint goes on with the branch's compute and volume.
    try await call(
      "POST", "/projects/{project_id}/endpoints",
      #"{"endpoint":{"branch_id":"\#(values["branch_id"] ?? "")","type":"read_write"}}"#,
      status: 201)
    let branch = "/projects/{project_id}/branches/{branch_id}"
    try await call("DELETE", branch, status: 412)
    values["branch_id"] = values["child"]
    for _ in 0..<2 { try await call("DELETE", branch) }
    try await call("GET", "/projects/{project_id}/branches", query: "?include_deleted=True")
    let deleted = try await call("DELETE", "/projects/{project_id}")
    #expect(deleted.text("operations", "0", "kind") == "delete_project")
    let back = try await call("POST", "/projects/{project_id}/recover")
    #expect(back.text("project", "name") == "store")
    try await call("DELETE", "/projects/{project_id}")
    try await call("DELETE", "/projects/{project_id}")
    try await call("GET", "/projects/{project_id}", status: 404)
    try await call("GET", "/projects", query: "?recoverable=1")
  }
}
