import APITypes
import Catalog
import Foundation

/// Gives an endpoint another branch to serve; its name and connection string stay.
///
/// The old branch keeps its compute and volume, as after the deletion of its endpoint: the row is
/// held by an endpoint that is deleted from the start, and the branch's next endpoint takes it over.
struct EndpointMove: Sendable {
  let core: Core
  let project: ProjectRecord

  /// Changes rows and starts the operations that bring computes in line.
  func move(
    _ endpoint: inout EndpointRecord, to target: BranchID, _ tx: CatalogTransaction
  ) throws -> [OperationRecord] {
    let action = "move endpoint '\(endpoint.id)'"
    guard let branch = try tx.branch(target, of: project.id), branch.deletedAt == nil else {
      throw ControlPlaneError(
        .branchNotFound,
        "\(action): find branch '\(target)' in project '\(project.id)': "
          + "there is none")
    }
    let old = endpoint.branchID
    let wasRunning = endpoint.state == .active || endpoint.pendingState == .active
    try core.requireFree(
      tx, project.id,
      [
        OperationLock.endpoint(endpoint.id), OperationLock.branch(old),
        OperationLock.branch(target),
      ],
      doing: action)
    try EndpointService.requireUnprotected(old, tx, doing: action)
    try EndpointService.requireRoom(for: endpoint.type, on: branch, tx, doing: action)
    try core.requireFilled(branch, doing: action)
    if endpoint.type == .readOnly {
      return try moveReplica(&endpoint, to: target, isWanted: wasRunning, tx)
    }
    let holder = try keepCompute(of: endpoint, tx)
    endpoint.branchID = target
    endpoint.state = .idle
    endpoint.pendingState = wasRunning && !endpoint.isDisabled ? .active : nil
    endpoint.updatedAt = core.clock.now
    try tx.update(endpoint)
    try NewRows(core: core, project: project).placeCompute(of: endpoint, branch, tx)
    return try enqueue(endpoint, from: old, holder: holder, tx)
  }

  /// A replica holds nothing of its own: it is opened anew on the other branch.
  private func moveReplica(
    _ endpoint: inout EndpointRecord, to target: BranchID, isWanted: Bool, _ tx: CatalogTransaction
  ) throws -> [OperationRecord] {
    let restarts = isWanted && !endpoint.isDisabled
    endpoint.branchID = target
    endpoint.pendingState = restarts ? .active : isWanted ? .idle : nil
    endpoint.updatedAt = core.clock.now
    try tx.update(endpoint)
    guard isWanted else { return [] }
    return [
      try tx.enqueue(
        OperationRecord(
          restarts ? .restartCompute : .suspendCompute, core, project: project, branch: target,
          endpoint: endpoint.id, locks: [OperationLock.endpoint(endpoint.id)]))
    ]
  }

  private func keepCompute(
    of endpoint: EndpointRecord, _ tx: CatalogTransaction
  ) throws -> EndpointRecord {
    var holder = endpoint
    holder.id = core.names.endpoint()
    holder.name = nil
    holder.deletedAt = core.clock.now
    holder.createdAt = core.clock.now
    holder.updatedAt = core.clock.now
    holder.state = .idle
    holder.pendingState = nil
    try tx.insert(holder)
    if var compute = try tx.compute(of: endpoint.id) {
      compute.endpointID = holder.id
      try tx.update(compute)
    }
    return holder
  }

  private func enqueue(
    _ endpoint: EndpointRecord, from old: BranchID, holder: EndpointRecord, _ tx: CatalogTransaction
  ) throws -> [OperationRecord] {
    let stop = try tx.enqueue(
      OperationRecord(
        .deleteEndpoint, core, project: project, branch: old, endpoint: holder.id,
        locks: [OperationLock.endpoint(holder.id), OperationLock.branch(old)]))
    guard endpoint.pendingState == .active else { return [stop] }
    let start = try tx.enqueue(
      OperationRecord(
        .startCompute, core, project: project, branch: endpoint.branchID, endpoint: endpoint.id,
        locks: [OperationLock.endpoint(endpoint.id)], after: [stop.id]))
    return [stop, start]
  }
}
