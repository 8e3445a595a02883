import Foundation
import FoundationNetworking
import Testing

@testable import RESTAPI

@Suite(.serialized) struct HostileRequestTests {
  /// Bodies that no client of good will sends.
  private static let bodies: [Data] =
    [
      "", "{", "[]", "null", "true", "\"x\"", "{\"a\":}", "{}{}", "\u{FEFF}{}",
      String(repeating: "[", count: 200_000), String(repeating: "{\"a\":", count: 5000),
      "{\"project\":[],\"branch\":1,\"endpoint\":\"\",\"role\":null,\"database\":{},\"account\":[1]}",
      "{\"project\":{\"name\":\"\u{202E}\u{0301}🐘\",\"settings\":{\"quota\":{\"data_transfer_bytes\":1e309}}}}",
      "{\"project\":{\"history_retention_seconds\":-9223372036854775809}}",
      "{\"email\":\"\\ud800\",\"key_name\":\"\\udfff\",\"history_retention_seconds\":1.5}",
      "{\"plan\":{\"projects_limit\":9223372036854775807,\"branches_limit\":1,"
        + "\"history_retention_seconds_maximum\":9223372036854775807,\"compute_units_maximum\":1e308}}",
      "{\"branch\":{\"parent_timestamp\":\"99999-01-01T00:00:00Z\"}}",
      "{\"database\":{\"name\":\"host=evil dbname=x\",\"owner_name\":\"postgresql://evil/\"}}",
      "{\"role\":{\"name\":\"a'; DROP TABLE exzo.accounts; --\"}}",
      "{\"endpoint\":{\"branch_id\":\"../../etc/passwd\",\"type\":\"read_write\"}}",
    ].map { Data($0.utf8) } + [Data([0xff, 0xfe, 0x7b]), Data(repeating: 0, count: 64)]

  private static let names = [
    "x", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%ff%fe", "%F0%9F%90%98", "host%3Devil%20dbname%3Dx",
    "%27%3B--", "-1", "99999999999999999999999", "a%0ab", String(repeating: "y", count: 3000),
  ]

  private static let queries = [
    "", "?limit=99999999999999999999", "?cursor=%00", "?cursor=AAAA", "?from=x&to=y&granularity=z",
    "?from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z&granularity=hourly&metrics=a",
    "?from=9999-12-31T00:00:00Z&to=9999-12-31T23:59:59Z&granularity=monthly&metrics=written_data_bytes",
    "?%zz", "?history_retention_seconds=-5", "?metrics=,,,&project_ids=,&branch_ids=%2c",
  ]

  /// Every route of the table, with every body, name and query of ours: never our fault.
  @Test func everyRouteBearsHostileRequests() async throws {
    try await APIInstallation.with { api in
      let made = try await api.send("POST", "/api/v2/projects", #"{"project":{}}"#)
      let project = made.text("project", "id")
      let values = [
        "project_id": project, "branch_id": made.text("branch", "id"),
        "endpoint_id": made.text("endpoints", "0", "id"), "role_name": "exzodb_owner",
        "database_name": "exzodb",
      ]
      for route in RouteTable.all(api.plane).routes where route.answer != nil {
        // Real ids, so that what is behind them is reached; but nothing that ends the scene.
        let isDeletion = route.method == "DELETE" && route.segments.last?.hasPrefix("{") == true
        let real = Self.path(route) { isDeletion ? nil : values[$0] }
        for body in route.method == "GET" ? [] : Self.bodies {
          try await check(api, route.method, real, body)
        }
        for query in Self.queries { try await check(api, route.method, real + query, nil) }
        for name in Self.names where real != Self.path(route, { _ in name }) {
          try await check(api, route.method, Self.path(route) { _ in name }, nil)
        }
      }
      #expect(try await api.send("GET", "/api/v2/projects/\(project)").status == 200)
      #expect(try await api.send("GET", "/readyz").status == 200)
    }
  }

  private static func path(_ route: Route, _ value: (String) -> String?) -> String {
    route.segments.map { segment in
      guard segment.hasPrefix("{") else { return String(segment) }
      return value(String(segment.dropFirst().dropLast())) ?? "none-such-00000000"
    }.joined(separator: "/")
  }

  private func check(
    _ api: APIInstallation, _ method: String, _ path: String, _ body: Data?
  ) async throws {
    guard let url = URL(string: "http://127.0.0.1:\(api.port)/api/v2/\(path)") else { return }
    var request = URLRequest(url: url)
    request.httpMethod = method
    request.httpBody = body
    request.setValue("Bearer \(api.key)", forHTTPHeaderField: "Authorization")
    let (data, response) = try await URLSession.shared.data(for: request)
    let status = (response as? HTTPURLResponse)?.statusCode ?? 0
    let sent = body.map { String(decoding: $0.prefix(200), as: UTF8.self) } ?? ""
    let text = String(decoding: data.prefix(400), as: UTF8.self)
    #expect(
      (200..<500).contains(status), "\(method) \(path.prefix(300)) \(sent): \(status) \(text)")
    if status >= 400 { #expect(text.contains("\"message\""), "\(method) \(path): \(text)") }
  }
}
