import APITypes
import Catalog
import ControlPlaneSimulation
import Foundation
import Logging
import Synchronization
import TestSupport
import Testing

@testable import ControlPlane

/// A control plane on a real catalog and simulated computes.
struct Installation: Sendable {
  let core: Core
  let fleet: SimulatedFleet
  let tenants: SimulatedTenants
  let clock: ManualClock
  let account: AccountRecord

  static func with(_ body: (Installation) async throws -> Void) async throws {
    let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(directory: directory, logger: logger)
      try await server.start()
      do {
        let catalog = try await Catalog.open(server.connectionParameters, connections: 6)
        let clock = ManualClock()
        let fleet = SimulatedFleet(clock: clock)
        let tenants = SimulatedTenants()
        let core = Core(
          catalog: catalog, fleet: fleet, tenants: tenants,
          sealer: try SecretSealer(key: Array(0..<32)), clock: clock, random: Randomness(),
          settings: InstallationSettings(), logger: logger)
        #expect(try await AccountService(core: core).bootstrap() != nil)
        #expect(try await AccountService(core: core).bootstrap() == nil)
        let account = try #require(try await catalog.read { try $0.firstAdministrator() })
        try await body(
          Installation(core: core, fleet: fleet, tenants: tenants, clock: clock, account: account))
        await catalog.close()
      } catch {
        try await server.stop()
        throw error
      }
      try await server.stop()
    }
  }

  func engine(
    interruption: @escaping @Sendable (StepBoundary) async throws -> Void = { _ in }
  ) -> OperationEngine {
    OperationEngine(core: core, node: "test", workers: 4, interruption: interruption)
  }

  /// Runs `body` while an engine works that dies at a boundary between steps, and then its successor.
  /// - Parameter check: called at each boundary of the first one.
  /// - Returns: whether there was such a boundary.
  func diesAt(
    _ boundary: Int, check: @escaping @Sendable () async throws -> Void = {},
    _ body: () async throws -> Void
  ) async throws -> Bool {
    let seen = Mutex(0)
    let dying = engine { _ in
      try await check()
      let number = seen.withLock { seen in
        defer { seen += 1 }
        return seen
      }
      if number == boundary { throw EngineAbandoned() }
    }
    let task = Task {
      do {
        try await dying.run()
      } catch is EngineAbandoned {
        // A claim that was on its way is made before the successor takes claims back: of a process that
        // died, nothing is on its way.
        try await Task.sleep(for: .milliseconds(100))
        try await engine().run()
      }
    }
    let outcome: Result<Void, any Error>
    do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
    // Waited for: in its last moment an engine may claim what is added next, and the one after it has taken claims
    // back already.
    task.cancel()
    _ = await task.result
    try outcome.get()
    return seen.withLock { $0 } > boundary
  }

  /// Runs `body` while an engine works.
  func working<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
    let engine = engine()
    let task = Task { try await engine.run() }
    do {
      let value = try await body()
      task.cancel()
      try await task.value
      return value
    } catch {
      task.cancel()
      throw error
    }
  }

  /// Waits for the operations' ends and returns them.
  @discardableResult
  func end(_ operations: [API.Operation]) async throws -> [API.Operation] {
    var ended: [API.Operation] = []
    for operation in operations {
      let end = try await OperationService(core: core).end(of: OperationID(operation.id))
      ended.append(try #require(end))
    }
    return ended
  }

  func newProject(_ request: API.NewProject = API.NewProject()) async throws -> API.CreatedProject {
    try await ProjectService(core: core).create(request, account: account.id)
  }

  func refusal(_ body: () async throws -> Void) async throws -> ControlPlaneError.Code? {
    do {
      try await body()
      return nil
    } catch let error as ControlPlaneError {
      return error.code
    }
  }
}
