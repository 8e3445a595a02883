import APITypes
import Catalog
import Foundation

/// One request to make a branch of a snapshot and, if so asked, to put it in another's place.
struct SnapshotRestore: Sendable {
  let core: Core
  let request: API.SnapshotRestoreRequest
  let snapshotID: SnapshotID
  let projectID: ProjectID
  let account: AccountID

  func run() async throws -> API.RestoredSnapshot {
    try SettingsRules.name("name", request.name)
    let answer = try await core.catalog.write { tx in try self.insert(tx) }
    core.added.fire()
    return answer
  }

  private func insert(_ tx: CatalogTransaction) throws -> API.RestoredSnapshot {
    let project = try core.lock(tx, projectID, of: account)
    let snapshot = try SnapshotService.find(snapshotID, project, tx)
    let target = try self.target(snapshot, project, tx)
    guard let plan = try tx.plan(project.plan),
      try tx.branchCount(of: project.id) < plan.branchesLimit
    else {
      throw ControlPlaneError(
        .limitReached, "restore snapshot '\(snapshot.name)': the plan allows no further branch",
        hint: "delete one, or ask for a larger plan")
    }
    try core.requireFree(
      tx, project.id, target.map { [OperationLock.branch($0.id)] } ?? [],
      doing: "restore snapshot '\(snapshot.name)'")
    let branch = try insertBranch(snapshot, target, project, tx)
    let creation = try tx.enqueue(
      OperationRecord(
        .createBranch, core, project: project, branch: branch.id,
        locks: [OperationLock.branch(branch.id)]))
    var operations = [creation]
    var endpoints: [EndpointRecord] = []
    if request.finalizeRestore == true, let target {
      operations += try RestoreFinalization.enqueue(
        branch, target, oldName: nil, force: request.force, after: [creation.id], core, project,
        tx)
      endpoints = try tx.endpoints(of: target.id)
    }
    let presenter = Presenter(core: core)
    return API.RestoredSnapshot(
      branch: presenter.branch(branch, isDefault: false),
      endpoints: endpoints.map(presenter.endpoint), operations: operations.map(presenter.operation))
  }

  /// The branch that the restored one is to replace: as named, else the snapshot's own while it is
  /// there.
  private func target(
    _ snapshot: SnapshotRecord, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> BranchRecord? {
    if let id = request.targetBranchID {
      return try core.branch(tx, BranchID(id), of: project.id)
    }
    // After a finalized restore, what took the branch's place.
    let own = try tx.livingHeir(of: snapshot.branchID)
    if own == nil, request.finalizeRestore == true {
      throw ControlPlaneError(
        .branchNotFound,
        "restore snapshot '\(snapshot.name)': its branch '\(snapshot.branchID)' is gone",
        hint: "name a target_branch_id, or leave finalize_restore out")
    }
    return own
  }

  private func insertBranch(
    _ snapshot: SnapshotRecord, _ target: BranchRecord?, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws -> BranchRecord {
    let now = core.clock.now
    let line = try NewLine(core: core, project: project).insert(
      at: ResolvedMoment(
        lineID: snapshot.lineID.rawValue, lsn: snapshot.lsn, time: snapshot.moment),
      inheritsWindow: false, tx)
    let id = core.names.branch()
    var branch = BranchRecord(
      id: id, accountID: project.accountID, plan: project.plan, projectID: project.id,
      lineID: line.id, parentLSN: snapshot.lsn, parentTimestamp: snapshot.moment,
      name: request.name ?? "\(snapshot.name) restored \(RFC3339.text(now))", state: "init",
      stateChangedAt: now, isProtected: false, initSource: "parent-data", annotation: [:],
      createdAt: now, updatedAt: now)
    branch.restoreStatus = RestoreStatus.restored
    branch.restoredFrom = snapshot.id
    branch.restoredAs = target?.id
    try BranchService.unique(branch.name) { try tx.insert(branch) }
    // Roles and databases of the snapshot's branch, which are kept also where it was deleted.
    let copy = TenantCopy(core: core, tx: tx, source: snapshot.branchID, target: branch.id)
    try copy.roles()
    try copy.databases()
    return branch
  }
}

extension SnapshotService {
  public func restore(
    _ id: SnapshotID, _ request: API.SnapshotRestoreRequest, project: ProjectID, account: AccountID
  ) async throws -> API.RestoredSnapshot {
    try await SnapshotRestore(
      core: core, request: request, snapshotID: id, projectID: project, account: account
    ).run()
  }
}
