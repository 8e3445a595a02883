import ControlPlane
import Foundation
import Synchronization

/// Roles and databases by line, in memory.
public final class SimulatedTenants: TenantConfigurator {
  private let lines = Mutex<[String: TenantContents]>([:])

  public init() {}

  public subscript(_ line: String) -> TenantContents? { lines.withLock { $0[line] } }

  /// What a line holds when it is first opened, as a branch inherits it.
  public func inherit(_ contents: TenantContents, on line: String) {
    lines.withLock { $0[line] = contents }
  }

  public func apply(
    _ configuration: TenantConfiguration, to compute: RunningCompute
  ) async throws -> TenantContents {
    lines.withLock { lines in
      var contents =
        lines[compute.lineID]
        ?? TenantContents(
          databases: configuration.createsDatabases ? [] : configuration.databases, roles: [])
      let names = Set(contents.databases.map(\.name))
      if configuration.createsDatabases {
        contents.databases += configuration.databases.filter { !names.contains($0.name) }
      }
      contents.databases.removeAll { configuration.droppedDatabases.contains($0.name) }
      contents.roles += configuration.roles.map(\.name).filter { !contents.roles.contains($0) }
      contents.roles.removeAll { configuration.droppedRoles.contains($0) }
      lines[compute.lineID] = contents
      return contents
    }
  }
}

extension SimulatedTenants {
  public func logicalSize(of compute: RunningCompute) async throws -> Int { 7_000_000 }
}

/// A clock that moves when it is told to.
public final class ManualClock: WallClock {
  private let time: Mutex<Date>

  public init(_ start: Date = Date(timeIntervalSince1970: 1_795_428_000)) { time = Mutex(start) }

  public var now: Date { time.withLock { $0 } }
  public func advance(_ seconds: TimeInterval) { time.withLock { $0 += seconds } }
}
