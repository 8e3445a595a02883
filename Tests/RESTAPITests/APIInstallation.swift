import ControlPlane
import ControlPlaneSimulation
import Foundation
import FoundationNetworking
import Testing

/// The API on a loopback port, with a real catalog and simulated computes.
struct APIInstallation: Sendable {
  let port: Int
  let key: String
  let fleet: SimulatedFleet
  let plane: ControlPlane

  static func with(
    requestsPerMinute: Int = 0,
    _ body: @escaping @Sendable (APIInstallation) async throws -> Void
  ) async throws {
    let settings = InstallationSettings(requestsPerMinute: requestsPerMinute)
    try await ServedSimulation.with(settings: settings) { served in
      try await body(
        APIInstallation(
          port: served.port, key: served.key, fleet: served.fleet, plane: served.plane))
    }
  }

  struct Answer {
    var status: Int
    var data: Data
    var headers: [AnyHashable: Any]
    var json: Any { (try? JSONSerialization.jsonObject(with: data)) ?? NSNull() }
    var object: [String: Any] { json as? [String: Any] ?? [:] }
    var code: String { object["code"] as? String ?? "" }
    func text(_ path: String...) -> String {
      var value: Any? = object
      for part in path {
        value = Int(part).flatMap { (value as? [Any])?[$0] } ?? (value as? [String: Any])?[part]
      }
      return value as? String ?? ""
    }
  }

  func send(
    _ method: String, _ path: String, _ body: String? = nil, key: String? = nil,
    headers: [String: String] = [:]
  ) async throws -> Answer {
    var request = URLRequest(url: try #require(URL(string: "http://127.0.0.1:\(port)\(path)")))
    request.httpMethod = method
    request.httpBody = body.map { Data($0.utf8) }
    request.setValue("Bearer \(key ?? self.key)", forHTTPHeaderField: "Authorization")
    for (name, value) in headers { request.setValue(value, forHTTPHeaderField: name) }
    let (data, response) = try await URLSession.shared.data(for: request)
    let http = try #require(response as? HTTPURLResponse)
    return Answer(status: http.statusCode, data: data, headers: http.allHeaderFields)
  }
}
