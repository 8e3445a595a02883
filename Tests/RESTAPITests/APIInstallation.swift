import APITypes
import Catalog
import ControlPlane
import ControlPlaneSimulation
import Foundation
import FoundationNetworking
import HummingbirdCore
import Logging
import TestSupport
import Testing

@testable import RESTAPI

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
    let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(directory: directory, logger: logger)
      try await server.start()
      do {
        let catalog = try await Catalog.open(server.connectionParameters, connections: 6)
        let fleet = SimulatedFleet(clock: SystemWallClock())
        let plane = ControlPlane(
          catalog: catalog, fleet: fleet, tenants: SimulatedTenants(),
          schemaTools: SimulatedSchemaTools(), dumpTools: SimulatedDumpTools(),
          sealer: try SecretSealer(key: Array(0..<32)),
          settings: InstallationSettings(requestsPerMinute: requestsPerMinute), logger: logger)
        let key = try #require(try await plane.accounts.bootstrap())
        try await serve(plane, logger) { port in
          try await body(APIInstallation(port: port, key: key, fleet: fleet, plane: plane))
        }
        await catalog.close()
      } catch {
        try await server.stop()
        throw error
      }
      try await server.stop()
    }
  }

  private static func serve(
    _ plane: ControlPlane, _ logger: Logger, _ body: @escaping @Sendable (Int) async throws -> Void
  ) async throws {
    let (ports, promise) = AsyncStream<Int>.makeStream()
    let server = try RESTServer(plane: plane, port: 0, logger: logger) { promise.yield($0) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await plane.run() }
      group.addTask { try await server.run() }
      var iterator = ports.makeAsyncIterator()
      let port = try #require(await iterator.next())
      try await body(port)
      group.cancelAll()
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
