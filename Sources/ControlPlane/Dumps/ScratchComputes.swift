import Catalog
import Foundation
import PostgresFormat

/// Computes that one step of an operation needs for a while, each on a line of its own that goes
/// with it.
///
/// *State and invariants*: 1. A row of the catalog is written before the compute is started and
/// removed after compute and history are gone. 2. The moment that it starts from is kept while the
/// row is there.
///
/// *Crash*: the step begins again by removing what it finds; ``removeForgotten()`` removes those of
/// operations that came to their end.
struct ScratchComputes: Sendable {
  let core: Core

  /// Runs `body` with a compute that starts from `moment`, or an empty one, and removes it.
  func use<Value: Sendable>(
    _ moment: ResolvedMoment?, for operation: OperationRecord, _ project: ProjectRecord,
    _ body: @Sendable (RunningCompute) async throws -> Value
  ) async throws -> Value {
    for row in try await core.catalog.read({ try $0.scratchComputes(of: operation.id) }) {
      try await remove(row)
    }
    let row = try await core.catalog.write { tx in
      try tx.insert(
        ScratchComputeRecord(
          id: core.names.compute(), operation: operation, lineID: core.names.line(),
          parentLineID: moment.map { CatalogLineID($0.lineID) }, parentLSN: moment?.lsn,
          createdAt: core.clock.now))
    }
    do {
      let value = try await body(try await start(row, moment, project))
      await removeOrLeave(row)
      return value
    } catch {
      await removeOrLeave(row)
      throw error
    }
  }

  private func start(
    _ row: ScratchComputeRecord, _ moment: ResolvedMoment?, _ project: ProjectRecord
  ) async throws -> RunningCompute {
    if moment == nil {
      _ = try await core.fleet.createRoot(
        RootRequest(
          lineID: row.lineID.rawValue, projectID: project.id.rawValue, major: project.pgVersion))
    }
    return try await core.fleet.start(
      ComputeRequest(
        computeID: row.id.rawValue, projectID: project.id.rawValue, branchID: "", endpointID: "",
        lineID: row.lineID.rawValue,
        origin: moment.map { .branch(parentLine: $0.lineID, lsn: $0.lsn) } ?? .root,
        major: project.pgVersion, settings: ComputeSettings(), roles: [], databases: []))
  }

  /// The outcome of the work is the one to report; what stays is removed by the housekeeping.
  private func removeOrLeave(_ row: ScratchComputeRecord) async {
    do {
      try await remove(row)
    } catch {
      core.logger.warning(
        "a scratch compute is removed later",
        metadata: ["compute": "\(row.id)", "error": "\(error)"])
    }
  }

  private func remove(_ row: ScratchComputeRecord) async throws {
    try await core.fleet.destroy(computeID: row.id.rawValue, line: row.lineID.rawValue)
    try await core.dumpTools.removeHistory(line: row.lineID.rawValue)
    try await core.catalog.write { try $0.deleteScratchCompute(row.id) }
  }

  /// Removes those whose operation has come to its end.
  func removeForgotten() async throws {
    let rows = try await core.catalog.read { tx in
      try tx.scratchComputes().filter { row in
        guard let operation = try tx.operation(row.operationID) else { return true }
        return operation.isFinal
      }
    }
    for row in rows { await removeOrLeave(row) }
  }
}
