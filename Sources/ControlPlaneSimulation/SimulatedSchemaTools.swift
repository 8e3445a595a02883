import APITypes
import ControlPlane
import Synchronization

/// Schemas that are the line and database they were asked of.
public final class SimulatedSchemaTools: SchemaTools {
  private let loads = Mutex<[String]>([])

  public init() {}

  /// What was loaded, in order: database and line.
  public var loaded: [String] { loads.withLock { $0 } }

  public func dumpSchema(of database: String, on compute: RunningCompute) async throws -> String {
    "\\restrict \(compute.computeID)\nCREATE TABLE \(database) (line \(compute.lineID));\n"
      + "\\unrestrict \(compute.computeID)\n"
  }

  public func copySchema(
    of database: String, from past: RunningCompute, to target: String, on compute: RunningCompute,
    project: String
  ) async throws {
    loads.withLock { $0.append("\(target) on \(compute.lineID)") }
  }

  public func tables(of database: String, on compute: RunningCompute) async throws
    -> API.BranchSchema
  {
    API.BranchSchema(tables: [])
  }
}
