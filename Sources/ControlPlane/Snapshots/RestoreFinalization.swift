import APITypes
import Catalog
import Foundation

/// Lets a branch that was made from a snapshot take the place of the branch that it restores: name,
/// endpoints, children, backup schedule, protection and being the default pass to it. The replaced
/// branch stays under another name, without compute, and can be deleted.
enum RestoreFinalization {
  /// Adds the operations.
  /// - Parameters:
  ///   - oldName: what the replaced branch is called from then on.
  ///   - force: the replaced branch may be protected.
  static func enqueue(
    _ restored: BranchRecord, _ target: BranchRecord, oldName: String?, force: Bool?,
    after: [OperationID], _ core: Core, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> [OperationRecord] {
    let action = "finalize restore of branch '\(target.name)'"
    let name = oldName ?? "\(target.name) until \(RFC3339.text(core.clock.now))"
    try SettingsRules.name("name", oldName)
    if try tx.branch(named: name, of: project.id) != nil {
      throw ControlPlaneError(
        .branchAlreadyExists, "\(action): the project has a branch '\(name)' already",
        hint: "give another name for the replaced branch")
    }
    try check(restored, target, force: force == true, core, tx, doing: action)
    let endpoints = try tx.endpoints(of: target.id)
    let own = try tx.endpoints(of: restored.id)
    let locks =
      [restored.id, target.id].map(OperationLock.branch)
      + (endpoints + own).map { OperationLock.endpoint($0.id) }
    // What is made in the same request may hold the restored branch.
    if after.isEmpty {
      try core.requireFree(tx, project.id, locks, doing: action)
    } else {
      try core.requireFree(
        tx, project.id,
        [OperationLock.branch(target.id)] + endpoints.map { OperationLock.endpoint($0.id) },
        doing: action)
    }
    let compute = try self.compute(of: restored, core, project, tx)
    let endpoint = endpoints.first { $0.type == .readWrite }
    var finalize = OperationRecord(
      .finalizeRestore, core, project: project, branch: restored.id, endpoint: endpoint?.id,
      locks: locks, after: after)
    finalize.details = [
      "compute": compute.id.rawValue, "target": target.id.rawValue, "old_name": name,
    ]
    finalize = try tx.enqueue(finalize)
    guard own.isEmpty else { return [finalize] }
    let retire = try tx.enqueue(
      OperationRecord(
        .retireCompute, core, project: project, branch: target.id,
        locks: [OperationLock.branch(target.id)], after: [finalize.id]))
    return [finalize, retire]
  }

  private static func check(
    _ restored: BranchRecord, _ target: BranchRecord, force: Bool, _ core: Core,
    _ tx: CatalogTransaction, doing action: String
  ) throws {
    guard restored.id != target.id else {
      throw ControlPlaneError(.badValue, "\(action): it cannot replace itself")
    }
    try core.refuseAttached(tx, target.lineID, isOverFine: true, doing: action)
    if target.isProtected, !force {
      throw ControlPlaneError(
        .branchIsProtected, "\(action): it is protected",
        hint: "set force to replace it all the same")
    }
  }

  /// The compute of the restored branch's line, which the endpoint is to lead to.
  private static func compute(
    of restored: BranchRecord, _ core: Core, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> ComputeRecord {
    let present = try tx.computes(project: project.id, branch: restored.id, endpoint: nil)
    if let found = present.first(where: { $0.lineID == restored.lineID }) { return found }
    return try NewLine(core: core, project: project).insertCompute(
      on: restored.lineID, of: restored.id, tx)
  }
}

extension BranchService {
  /// Replaces the branch that `id` was restored for.
  public func finalizeRestore(
    _ id: BranchID, name: String?, force: Bool? = nil, project: ProjectID, account: AccountID
  ) async throws -> [API.Operation] {
    let operations = try await core.catalog.write { tx -> [OperationRecord] in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, id, of: project.id)
      let action = "finalize restore of branch '\(branch.name)'"
      guard branch.restoreStatus != nil, let target = branch.restoredAs else {
        throw ControlPlaneError(
          .restoreNotPending, "\(action): it was not restored from a snapshot to replace a branch",
          hint: "restore a snapshot first")
      }
      // Repeated: it has happened.
      if branch.restoreStatus == RestoreStatus.finalized { return [] }
      // Another restore of the branch may have taken its place meanwhile.
      guard let target = try tx.livingHeir(of: target) else {
        throw ControlPlaneError(
          .branchNotFound, "\(action): the branch '\(target)' that it is to replace was deleted",
          hint: "rename this branch, or restore the snapshot without a target")
      }
      return try RestoreFinalization.enqueue(
        branch, target, oldName: name, force: force, after: [], core, project, tx)
    }
    core.added.fire()
    return operations.map(Presenter(core: core).operation)
  }
}

/// Words of a branch's `restore_status`.
enum RestoreStatus {
  static let restored = "restored"
  static let finalized = "finalized"
}

extension OperationSteps {
  /// Opens the restored branch's line where the replaced one's endpoint is in use.
  func openFinalizedLine(_ operation: OperationRecord) async throws {
    let prepared = try await core.catalog.read { tx -> EndpointSubject? in
      guard let restored = try operation.branchID.flatMap({ try tx.branch($0) }),
        let id = operation.endpointID, var subject = try EndpointSubject(id, tx),
        subject.endpoint.state == .active, subject.branch.id != restored.id,
        let line = try tx.line(restored.lineID),
        let compute = try operation.details["compute"].flatMap({ try tx.compute(ComputeID($0)) }),
        compute.running == nil
      else { return nil }
      subject.line = line
      subject.compute = compute
      return subject
    }
    if let prepared { try await start(prepared) }
  }

  /// The one transaction in which the restored branch takes the other's place.
  func exchangeBranches(_ operation: OperationRecord) async throws {
    try await core.catalog.write { tx in
      guard let restored = try operation.branchID.flatMap({ try tx.branch($0) }),
        let target = try operation.details["target"].flatMap({ try tx.branch(BranchID($0)) }),
        let oldName = operation.details["old_name"],
        var project = try tx.project(operation.projectID)
      else {
        throw ControlPlaneError(.branchNotFound, "finalize a restore: one of the branches is gone")
      }
      guard restored.restoreStatus != RestoreStatus.finalized else { return }
      try self.exchangeNames(restored, target, oldName, tx)
      try tx.moveChildren(of: target.id, to: restored.id, except: restored.id)
      try tx.moveSchedule(from: target.id, to: restored.id)
      // The passwords that clients of the endpoint have stay right.
      try TenantCopy(core: core, tx: tx, source: target.id, target: restored.id)
        .roles(replacing: true)
      if project.defaultBranchID == target.id {
        project.defaultBranchID = restored.id
        try tx.update(project)
      }
      try EndpointExchange(tx: tx, project: project.id, now: core.clock.now)
        .run(target: target, restored: restored)
    }
  }

  private func exchangeNames(
    _ restored: BranchRecord, _ target: BranchRecord, _ oldName: String, _ tx: CatalogTransaction
  ) throws {
    let now = core.clock.now
    var old = target
    old.name = oldName
    old.isProtected = false
    old.expiresAt = nil
    old.preservedFrom = restored.id
    old.updatedAt = now
    try BranchService.unique(oldName) { try tx.update(old) }
    var new = restored
    new.name = target.name
    new.isProtected = target.isProtected
    new.expiresAt = target.expiresAt
    new.parentID = target.parentID == restored.id ? restored.parentID : target.parentID
    new.restoreStatus = RestoreStatus.finalized
    new.restoredAs = target.id
    new.stateChangedAt = now
    new.updatedAt = now
    try BranchService.unique(new.name) { try tx.update(new) }
  }
}

/// Swaps the endpoints of two branches; each endpoint then leads to the other branch's compute.
private struct EndpointExchange {
  let tx: CatalogTransaction
  let project: ProjectID
  let now: Date

  func run(target: BranchRecord, restored: BranchRecord) throws {
    let theirs = try tx.endpoints(of: target.id)
    let own = try tx.endpoints(of: restored.id)
    let computes = try detach(target) + detach(restored)
    // One read_write endpoint a branch: the restored branch's own steps aside first.
    for endpoint in own { try place(endpoint, on: restored.id, isAside: true) }
    for endpoint in theirs {
      try lead(endpoint, to: restored, computes.first { $0.lineID == restored.lineID })
    }
    for endpoint in own {
      try lead(endpoint, to: target, computes.first { $0.lineID == target.lineID })
    }
  }

  /// Frees the branch's computes from their endpoints.
  private func detach(_ branch: BranchRecord) throws -> [ComputeRecord] {
    try tx.computes(project: project, branch: branch.id, endpoint: nil).map { compute in
      var free = compute
      free.endpointID = nil
      try tx.update(free)
      return free
    }
  }

  private func place(_ endpoint: EndpointRecord, on branch: BranchID, isAside: Bool) throws {
    var endpoint = endpoint
    endpoint.branchID = branch
    endpoint.deletedAt = isAside ? now : nil
    try tx.update(endpoint)
  }

  private func lead(
    _ before: EndpointRecord, to branch: BranchRecord, _ compute: ComputeRecord?
  ) throws {
    var endpoint = before
    endpoint.branchID = branch.id
    endpoint.deletedAt = nil
    endpoint.updatedAt = now
    guard endpoint.type == .readWrite else { return try tx.update(endpoint) }
    let runs = compute?.running != nil
    if endpoint.state == .active || runs { endpoint.state = runs ? .active : .idle }
    try tx.update(endpoint)
    guard var compute else { return }
    compute.endpointID = endpoint.id
    try tx.update(compute)
  }
}
