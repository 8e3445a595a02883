import APITypes
import Catalog
import Foundation

/// The steps by which a branch's pointer moves to another line.
extension OperationSteps {
  /// Opens the new line beside the running one, where the endpoint is in use; an endpoint that
  /// sleeps opens it when it wakes.
  func openRestoredLine(_ operation: OperationRecord) async throws {
    let details = try RestoreDetails(operation)
    let prepared = try await core.catalog.read { tx -> EndpointSubject? in
      guard let id = operation.endpointID, var subject = try EndpointSubject(id, tx),
        subject.endpoint.state == .active, subject.branch.lineID != details.line,
        let line = try tx.line(details.line), let compute = try tx.compute(details.compute)
      else { return nil }
      subject.line = line
      subject.compute = compute
      return subject
    }
    if let prepared { try await start(prepared) }
  }

  /// The one transaction that makes the new state the branch's: before it the old one is there.
  func moveBranchPointer(_ operation: OperationRecord) async throws {
    let details = try RestoreDetails(operation)
    try await core.catalog.write { tx in
      guard let id = operation.branchID, let branch = try tx.branch(id) else {
        throw ControlPlaneError(.branchNotFound, "restore a branch: it is gone")
      }
      guard branch.lineID != details.line else { return }
      let preserved = try self.preserve(branch, details, tx)
      var restored = branch
      restored.lineID = details.line
      restored.updatedAt = core.clock.now
      restored.stateChangedAt = core.clock.now
      if details.source == branch.parentID, let line = try tx.line(details.line) {
        restored.parentLSN = line.parentLSN
        restored.parentTimestamp = line.parentTime
        restored.lastResetAt = core.clock.now
      }
      try tx.update(restored)
      if details.preservedName != nil {
        try tx.moveChildren(of: branch.id, to: preserved.id, except: preserved.id)
      }
      if details.source != branch.id {
        try tx.deleteDatabases(of: branch.id)
        let copy = TenantCopy(core: core, tx: tx, source: details.source, target: branch.id)
        try copy.roles()
        try copy.databases()
      }
      guard let endpoint = operation.endpointID, var compute = try tx.compute(details.compute)
      else { return }
      compute.endpointID = endpoint
      try tx.update(compute)
    }
  }

  /// Makes the former state a branch with the old line and its computes.
  private func preserve(
    _ branch: BranchRecord, _ details: RestoreDetails, _ tx: CatalogTransaction
  ) throws -> BranchRecord {
    var preserved = PreservedBranch(of: branch, as: details.preserved, core)
    if let name = details.preservedName {
      preserved.row.name = name
    } else {
      preserved.row.deletedAt = preserved.row.createdAt
      preserved.row.deletionMethod = "user"
    }
    try preserved.insert(tx)
    for var compute in try tx.computes(project: branch.projectID, branch: branch.id, endpoint: nil)
    where compute.id != details.compute {
      compute.branchID = preserved.row.id
      compute.endpointID = nil
      try tx.update(compute)
    }
    return preserved.row
  }

  /// Roles and databases of the new state, where its compute runs.
  func configureRestored(_ operation: OperationRecord) async throws {
    let subject = try await core.catalog.read { tx in
      try operation.endpointID.flatMap { try EndpointSubject($0, tx) }
    }
    guard let subject, subject.endpoint.state == .active, let running = subject.running else {
      return
    }
    try await configure(subject, running)
  }

  /// Cuts the sessions that still talk to the former state; clients come back to the new one, and
  /// replicas follow it.
  func dropFormerSessions(_ operation: OperationRecord) async throws {
    let former = BranchID(operation.details["preserved"] ?? operation.details["target"] ?? "")
    let computes = try await core.catalog.read { tx in
      try tx.computes(project: operation.projectID, branch: former, endpoint: nil)
    }
    for compute in computes {
      guard let running = compute.running else { continue }
      try await core.tenants.disconnectClients(of: running)
    }
    let branches = [operation.branchID, operation.details["target"].map { BranchID($0) }]
    for branch in branches.compactMap({ $0 }) {
      try await ReplicaComputes(core: core).reopen(branch)
    }
  }

  /// Ends what a restore that failed had opened. Nobody points to its line.
  func discardCompute(_ operation: OperationRecord) async throws {
    guard let id = operation.details["compute"].map({ ComputeID($0) }),
      let compute = try await core.catalog.read({ try $0.compute(id) })
    else { return }
    try await core.fleet.destroy(computeID: id.rawValue, line: compute.lineID.rawValue)
    try await core.catalog.write { try $0.deleteCompute(id) }
  }

  /// After a restore that failed: before the pointer moved, what it opened is to be ended; afterwards, the former
  /// state's compute, which nobody leads to any more, and with it the sessions that still talk to it.
  func abandonRestore(_ operation: OperationRecord, _ tx: CatalogTransaction) throws {
    guard OperationKind.moves.has(operation),
      let branch = try operation.branchID.flatMap({ try tx.branch($0) }),
      let project = try tx.project(operation.projectID)
    else { return }
    if operation.kind == OperationKind.finalizeRestore.rawValue {
      return try abandonFinalization(of: branch, operation, project, tx)
    }
    let details = try RestoreDetails(operation)
    let hasMoved = branch.lineID == details.line
    var rest = OperationRecord(
      hasMoved ? details.retirement : .discardCompute, core, project: project,
      branch: hasMoved ? details.preserved : branch.id,
      locks: [OperationLock.branch(details.preserved)])
    if !hasMoved { rest.details = ["compute": details.compute.rawValue] }
    _ = try tx.enqueue(rest)
  }

  /// The branch of the two that no endpoint in use leads to keeps no compute.
  private func abandonFinalization(
    of restored: BranchRecord, _ operation: OperationRecord, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws {
    let hasMoved = restored.restoreStatus == RestoreStatus.finalized
    guard let target = operation.details["target"].map({ BranchID($0) }) else { return }
    let left = hasMoved ? target : restored.id
    let leads = try tx.endpoints(of: left).contains { $0.type == .readWrite && $0.state == .active }
    guard !leads else { return }
    _ = try tx.enqueue(
      OperationRecord(
        .retireCompute, core, project: project, branch: left, locks: [OperationLock.branch(left)]))
  }
}

extension ComputeRecord {
  /// Where the compute was last seen to run.
  var running: RunningCompute? {
    guard let socketDirectory, let port, let startedAt else { return nil }
    return RunningCompute(
      computeID: id.rawValue, lineID: lineID.rawValue, socketDirectory: socketDirectory, port: port,
      startedAt: startedAt, pid: Int32(truncatingIfNeeded: pid ?? 0))
  }
}
