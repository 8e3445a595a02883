import ControlPlane
import Foundation
import Synchronization

/// Roles and databases by line, in memory.
public final class SimulatedTenants: TenantConfigurator {
  private let lines = Mutex<[String: TenantContents]>([:])
  private let cut = Mutex<[String]>([])

  /// Lines whose clients were disconnected, in order.
  public var disconnected: [String] { cut.withLock { $0 } }

  private let failures = Mutex<[ComputeFleetError]>([])

  /// The next calls of ``apply(_:to:)`` throw these.
  public func failApplying(with errors: [ComputeFleetError]) { failures.withLock { $0 += errors } }

  private let busy = Mutex<Set<String>>([])

  /// Computes that clients use, by id.
  public var inUse: Set<String> {
    get { busy.withLock { $0 } }
    set { busy.withLock { $0 = newValue } }
  }

  public func isInUse(_ compute: RunningCompute, within seconds: Int) async throws -> Bool {
    busy.withLock { $0.contains(compute.computeID) }
  }

  public func disconnectClients(of compute: RunningCompute) async throws {
    cut.withLock { $0.append(compute.lineID) }
  }

  public init() {}

  public subscript(_ line: String) -> TenantContents? { lines.withLock { $0[line] } }

  /// What a line holds when it is first opened, as a branch inherits it.
  public func inherit(_ contents: TenantContents, on line: String) {
    lines.withLock { $0[line] = contents }
  }

  public func apply(
    _ configuration: TenantConfiguration, to compute: RunningCompute
  ) async throws -> TenantContents {
    if let failure = failures.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { throw failure }
    return lines.withLock { lines in
      var contents =
        lines[compute.lineID]
        ?? TenantContents(
          databases: configuration.createsDatabases ? [] : configuration.databases, roles: [])
      for rename in configuration.renamedDatabases {
        guard let index = contents.databases.firstIndex(where: { $0.name == rename.from }) else {
          continue
        }
        contents.databases[index].name = rename.to
      }
      let names = Set(contents.databases.map(\.name))
      if configuration.createsDatabases {
        contents.databases += configuration.databases.filter { !names.contains($0.name) }
      }
      contents.databases.removeAll { configuration.droppedDatabases.contains($0.name) }
      contents.closedDatabases.subtract(configuration.droppedDatabases)
      contents.roles += configuration.roles.map(\.name).filter { !contents.roles.contains($0) }
      contents.roles.removeAll { configuration.droppedRoles.contains($0) }
      lines[compute.lineID] = contents
      return contents
    }
  }
}

extension SimulatedTenants {
  public func contents(of compute: RunningCompute) async throws -> TenantContents {
    lines.withLock { $0[compute.lineID] ?? TenantContents(databases: [], roles: []) }
  }

  public func logicalSize(of compute: RunningCompute) async throws -> Int { 7_000_000 }
}

/// A clock that moves when it is told to.
public final class ManualClock: WallClock {
  private let time: Mutex<Date>

  public init(_ start: Date = Date(timeIntervalSince1970: 1_795_428_000)) { time = Mutex(start) }

  public var now: Date { time.withLock { $0 } }
  public func advance(_ seconds: TimeInterval) { time.withLock { $0 += seconds } }
}
