import Catalog
import ControlPlane
import ControlPlaneSimulation
import Foundation
import FoundationNetworking
import Logging
import RESTAPI
import TestSupport
import Testing

@testable import Console

/// API and Console on a loopback port, with a real catalog and simulated computes.
struct ConsoleInstallation: Sendable {
  let port: Int
  let key: String
  let plane: ControlPlane

  static func with(_ body: @escaping @Sendable (ConsoleInstallation) async throws -> Void)
    async throws
  {
    let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(directory: directory, logger: logger)
      try await server.start()
      do {
        let catalog = try await Catalog.open(server.connectionParameters, connections: 6)
        let plane = ControlPlane(
          catalog: catalog, fleet: SimulatedFleet(clock: SystemWallClock()),
          tenants: SimulatedTenants(), schemaTools: SimulatedSchemaTools(),
          sealer: try SecretSealer(key: Array(0..<32)), settings: InstallationSettings(),
          logger: logger)
        let key = try #require(try await plane.accounts.bootstrap())
        try await serve(plane, logger) { port in
          try await body(ConsoleInstallation(port: port, key: key, plane: plane))
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
    let server = try RESTServer(
      plane: plane, port: 0, logger: logger, onRunning: { promise.yield($0) },
      pages: {
        try Console(
          plane: plane, api: $0,
          settings: ConsoleSettings(communityURL: "https://community.example.org"), logger: logger)
      })
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await plane.run() }
      group.addTask { try await server.run() }
      var iterator = ports.makeAsyncIterator()
      let port = try #require(await iterator.next())
      try await body(port)
      group.cancelAll()
    }
  }

  var origin: String { "http://127.0.0.1:\(port)" }

  struct Answer {
    var status: Int
    /// Lower case, the last of equal ones.
    var headers: [String: String]
    var text: String
  }

  /// Redirects are told, not followed; cookies are sent only where they are given.
  func send(
    _ method: String, _ path: String, _ headers: [String: String] = [:], body: String? = nil
  ) throws -> Answer {
    var arguments = [
      "curl", "-sS", "-i", "--max-time", "30", "-X", method, "--path-as-is", "\(origin)\(path)",
    ]
    for (name, value) in headers { arguments += ["-H", "\(name): \(value)"] }
    if body != nil { arguments += ["--data-binary", "@-"] }
    let output = try run(arguments, input: body).output
    let parts = output.replacing("\r\n", with: "\n").components(separatedBy: "\n\n")
    let lines = parts[0].split(separator: "\n")
    var found: [String: String] = [:]
    for line in lines.dropFirst() {
      let pair = line.split(separator: ":", maxSplits: 1).map(String.init)
      if pair.count == 2 {
        found[pair[0].lowercased()] = pair[1].trimmingCharacters(in: .whitespaces)
      }
    }
    return Answer(
      status: lines.first.flatMap { Int($0.split(separator: " ")[1]) } ?? 0, headers: found,
      text: parts.dropFirst().joined(separator: "\n\n"))
  }

  /// A session's cookie and the token of its forms.
  func signIn(_ key: String? = nil) throws -> (cookie: String, token: String) {
    let answer = try send(
      "POST", "/signin",
      ["Origin": origin, "Content-Type": "application/x-www-form-urlencoded"],
      body: "key=\(key ?? self.key)&next=/keys")
    #expect(answer.status == 303)
    #expect(answer.headers["location"] == "/keys")
    let cookie = String((answer.headers["set-cookie"] ?? "").split(separator: ";")[0])
    let page = try send("GET", "/keys", ["Cookie": cookie])
    let token = page.text.firstMatch(of: #/name="form-token" content="([A-Za-z0-9]+)"/#)?.1
    return (cookie, String(try #require(token)))
  }
}
