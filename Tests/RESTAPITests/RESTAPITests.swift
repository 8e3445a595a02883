import Catalog
import Foundation
import Testing

@testable import RESTAPI

@Suite(.serialized) struct RESTAPITests {
  /// The shapes that outside clients know: `EXZO_REFERENCE_OPENAPI`, else beside the checkout.
  static var reference: Data? {
    let named = ProcessInfo.processInfo.environment["EXZO_REFERENCE_OPENAPI"].map { [$0] }
    let beside = ["..", "../.."].map { "\($0)/shared/api/reference-openapi.json" }
    return (named ?? beside).lazy.compactMap { FileManager.default.contents(atPath: $0) }.first
  }

  /// Every answer is checked against our own document, and against the reference where it has the
  /// route.
  @Test func everyAnswerHasTheShapeThatTheDocumentsPromise() async throws {
    try await APIInstallation.with { api in
      let own = try JSONSchema(try await api.send("GET", "/api/v2/openapi.json", key: "").data)
      let reference = try Self.reference.map { try JSONSchema($0) }
      if let reference {
        #expect(
          reference.routes.subtracting(own.routes).isEmpty, "routes of the reference are missing")
      }
      var walk = Walk(api: api, own: own, reference: reference)
      try await walk.run()
    }
  }

  @Test func refusalsHaveTheirStatusAndCode() async throws {
    try await APIInstallation.with { api in
      let base = "/api/v2/projects"
      func expect(
        _ status: Int, _ code: String, _ method: String, _ path: String, _ body: String? = nil
      ) async throws {
        let answer = try await api.send(method, path, body)
        #expect(answer.status == status, "\(method) \(path) \(body ?? "")")
        #expect(answer.code == code, "\(method) \(path) \(body ?? "")")
        #expect(!answer.text("message").isEmpty)
        #expect(!answer.text("request_id").isEmpty)
      }
      #expect(try await api.send("GET", base, key: "wrong").status == 401)
      #expect(try await api.send("GET", base, key: "").code == "unauthorized")
      try await expect(404, "route_not_found", "GET", "/api/v2/nothing")
      try await expect(404, "route_not_found", "GET", "/")
      try await expect(405, "method_not_allowed", "PUT", base)
      try await expect(404, "project_not_found", "GET", "\(base)/none-none-00000000")
      try await expect(400, "bad_value", "POST", base, "{")
      try await expect(400, "bad_value", "POST", base, "[]")
      try await expect(400, "bad_value", "POST", base, #"{"project":{"name":5}}"#)
      try await expect(400, "bad_value", "POST", base, #"{"project":{"name":"a\u0000b"}}"#)
      try await expect(400, "bad_value", "POST", base, #"{"project":{"pg_version":9}}"#)
      try await expect(400, "bad_value", "GET", "\(base)?limit=0")
      try await expect(400, "bad_value", "GET", "\(base)?limit=401")
      try await expect(400, "bad_value", "GET", "\(base)?cursor=x")
      try await expect(400, "bad_value", "GET", "\(base)?cursor=eyJ2YWx1ZSI6IngiLCJpZCI6IngifQ==")
      try await expect(400, "bad_value", "GET", "\(base)?recoverable=maybe")
      let large = try await api.send("POST", base, String(repeating: " ", count: 2 << 20))
      #expect(large.status == 413)
      let echoed = try await api.send("GET", base, headers: ["X-Request-ID": "my.id_1-2"])
      #expect(echoed.headers["X-Request-ID"] as? String == "my.id_1-2")
      let replaced = try await api.send("GET", base, headers: ["X-Request-ID": "my id"])
      #expect(replaced.headers["X-Request-ID"] as? String != "my id")
      for path in ["/healthz", "/readyz", "/metrics"] {
        #expect(try await api.send("GET", path, key: "").status == 200)
      }
      let metrics = String(decoding: try await api.send("GET", "/metrics").data, as: UTF8.self)
      #expect(
        metrics.contains("exzo_http_requests_total{operation=\"listProjects\",status=\"401\"} 2"))
    }
  }

  @Test func aRepeatedRequestGetsTheFirstAnswer() async throws {
    try await APIInstallation.with { api in
      let headers = ["Idempotency-Key": "k1"]
      let body = #"{"project":{"name":"once"}}"#
      let first = try await api.send("POST", "/api/v2/projects", body, headers: headers)
      #expect(first.status == 201)
      let again = try await api.send("POST", "/api/v2/projects", body, headers: headers)
      #expect(again.status == 201)
      #expect(again.data == first.data)
      let other = try await api.send(
        "POST", "/api/v2/projects", "{\"project\":{}}", headers: headers)
      #expect(other.status == 409)
      let list = try await api.send("GET", "/api/v2/projects")
      #expect((list.object["projects"] as? [Any])?.count == 1)
      // A refusal is not kept: its cause may be mended.
      let bad = ["Idempotency-Key": "k2"]
      #expect(try await api.send("POST", "/api/v2/projects", "{", headers: bad).status == 400)
      #expect(try await api.send("POST", "/api/v2/projects", body, headers: bad).status == 201)
    }
  }

  /// What a request asks for in its query is part of it, as its body is.
  @Test func aRepeatedRequestWithAnotherQueryIsAnotherRequest() async throws {
    try await APIInstallation.with { api in
      let made = try await api.send("POST", "/api/v2/projects", #"{"project":{}}"#)
      let (project, branch) = (made.text("project", "id"), made.text("branch", "id"))
      let path = "/api/v2/projects/\(project)/branches/\(branch)/snapshot"
      func snapshot(_ name: String, _ key: String) async throws -> APIInstallation.Answer {
        try await api.send("POST", "\(path)?name=\(name)", headers: ["Idempotency-Key": key])
      }
      var first = try await snapshot("a", "k1")
      let deadline = ContinuousClock.now + .seconds(20)
      // The project is being made.
      while first.status != 200, ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(20))
        first = try await snapshot("a", "k1")
      }
      #expect(first.status == 200, "\(first.text("message"))")
      #expect(try await snapshot("a", "k1").data == first.data)
      let other = try await snapshot("b", "k1")
      #expect(other.status == 409 && other.code == "idempotency_key_reused")
      #expect(try await snapshot("b", "k2").text("snapshot", "name") == "b")
    }
  }

  /// Claims of a process that is gone hold nobody up; answers that it gave stay.
  @Test func aRequestThatServeDiedInCanBeRepeatedAtOnce() async throws {
    try await APIInstallation.with { api in
      let (path, body) = ("/api/v2/projects", #"{"project":{"name":"once"}}"#)
      let answered = try await api.send(
        "POST", path, body, headers: ["Idempotency-Key": "answered"])
      let caller = try #require(try await api.plane.accounts.authenticate(api.key, from: ""))
      let claim = IdempotencyRecord(
        accountID: caller.account.id, method: "POST", path: path, key: "died",
        bodyHash: APIResponder.hash(query: "", body: Data(body.utf8)), createdAt: api.plane.now)
      #expect(try await api.plane.catalog.write { try $0.claim(claim) } == nil)
      func died() async throws -> APIInstallation.Answer {
        try await api.send("POST", path, body, headers: ["Idempotency-Key": "died"])
      }
      #expect(try await died().status == 423)
      try await api.plane.releaseRequests()
      #expect(try await died().status == 201)
      let again = try await api.send(
        "POST", path, body, headers: ["Idempotency-Key": "answered"])
      #expect(again.data == answered.data)
    }
  }

  @Test(arguments: [UInt64.random(in: 0...UInt64.max)])
  func fuzzedRequestsAreNeverOurFault(seed: UInt64) async throws {
    try await APIInstallation.with { api in
      let made = try await api.send("POST", "/api/v2/projects", #"{"project":{}}"#)
      var random = SplitMix(state: seed)
      let routes = RouteTable.all(api.plane).routes.filter { $0.answer != nil }
      let known = [
        made.text("project", "id"), made.text("branch", "id"), made.text("endpoints", "0", "id"),
        "exzodb", "exzodb_owner", "x", "%00", "..", "%2e%2e%2f", "%F0%9F%90%98", "a%20host%3Devil",
        "%27%3B--", "-1", "999999999999999999999",
      ]
      let values = [
        "null", "true", "-1", "0", "1e400", "99999999999999999999", "\"\"", "\"x\"", "[]", "{}",
        "[[{}]]", "\"\\ud800\"", "\"\\u0000\"", "\"2026-11-23T10:00:00Z\"", "\"0/1\"",
        "\"\u{202E}🐘\"",
        "\"\(made.text("branch", "id"))\"", "\"read_write\"", "{\"a\":\"\\u0000\"}", "3.5",
        "\"" + String(repeating: "x", count: 300) + "\"",
      ]
      let names = [
        "project", "branch", "endpoint", "role", "database", "name", "parent_id", "parent_lsn",
        "parent_timestamp", "endpoints", "type", "settings", "pg_settings", "expires_at",
        "branch_id",
        "owner_name", "key_name", "annotation_value", "history_retention_seconds", "protected",
        "suspend_timeout_seconds", "autoscaling_limit_min_cu", "quota",
      ]
      func value(_ depth: Int) -> String {
        guard depth > 0, Int.random(in: 0..<3, using: &random) > 0 else {
          return values.randomElement(using: &random) ?? "null"
        }
        let members = (0..<Int.random(in: 0..<4, using: &random)).map { _ in
          "\"\(names.randomElement(using: &random) ?? "")\":\(value(depth - 1))"
        }
        return "{\(members.joined(separator: ","))}"
      }
      for _ in 0..<600 {
        guard let route = routes.randomElement(using: &random) else { break }
        let path = route.segments.map { segment in
          segment.hasPrefix("{") ? known.randomElement(using: &random) ?? "x" : String(segment)
        }.joined(separator: "/")
        let query = ["", "?limit=5&cursor=%00", "?search=%25%5C", "?cursor=e30=", "?sort_by=name"]
        let suffix = query.randomElement(using: &random) ?? ""
        let body = route.method == "GET" ? nil : value(4)
        let answer = try await api.send(route.method, "/api/v2/\(path)\(suffix)", body)
        #expect(
          answer.status < 500,
          "seed \(seed): \(route.method) \(path)\(suffix) \(body ?? ""): \(answer.text("message"))")
      }
    }
  }
}

/// Small, seeded, good enough for fuzzing (Steele, Lea, Flood 2014).
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
