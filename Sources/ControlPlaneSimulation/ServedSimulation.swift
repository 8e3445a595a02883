import Catalog
import ControlPlane
import Foundation
import Logging
import RESTAPI
import TestSupport

/// The API on a loopback port, and pages beside it where there are any, over a real catalog and simulated
/// computes.
public struct ServedSimulation: Sendable {
  public let port: Int
  /// The administrator's.
  public let key: String
  public let fleet: SimulatedFleet
  public let plane: ControlPlane

  /// Runs `body` while it is served; everything is gone on return.
  public static func with(
    settings: InstallationSettings = InstallationSettings(requestsPerMinute: 0),
    pages: (@Sendable (ControlPlane, LocalAPI, Logger) throws -> any PageResponder)? = nil,
    _ body: @escaping @Sendable (ServedSimulation) async throws -> Void
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
          sealer: try SecretSealer(key: Array(0..<32)), settings: settings, logger: logger)
        guard let key = try await plane.accounts.bootstrap() else {
          throw CommandFailure(description: "a new catalog has an administrator already")
        }
        let site = Site(plane: plane, pages: pages, logger: logger)
        try await site.serve { port in
          try await body(ServedSimulation(port: port, key: key, fleet: fleet, plane: plane))
        }
        await catalog.close()
      } catch {
        try await server.stop()
        throw error
      }
      try await server.stop()
    }
  }

  private struct Site {
    let plane: ControlPlane
    let pages: (@Sendable (ControlPlane, LocalAPI, Logger) throws -> any PageResponder)?
    let logger: Logger

    func serve(_ body: @escaping @Sendable (Int) async throws -> Void) async throws {
      let (ports, promise) = AsyncStream<Int>.makeStream()
      let server = try RESTServer(
        plane: plane, port: 0, logger: logger, onRunning: { promise.yield($0) },
        pages: { api in try pages?(plane, api, logger) })
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await plane.run() }
        group.addTask { try await server.run() }
        var iterator = ports.makeAsyncIterator()
        guard let port = await iterator.next() else {
          throw CommandFailure(description: "the API does not listen")
        }
        try await body(port)
        group.cancelAll()
      }
    }
  }
}
