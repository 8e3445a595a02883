import APITypes
import Catalog
import Foundation
import PostgresFormat

/// Brings deleted branches and projects back, within seven days.
///
/// Their volumes are gone, so each branch goes on, from the history, on a new line that starts at
/// the former one's head. Its window reaches as far back as before.
struct Recovery: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  private struct Found {
    var project: ProjectRecord
    var branch: BranchRecord
    var line: LineRecord
  }

  // MARK: branches

  func branch(
    _ id: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.BranchRecoverResponse {
    let found = try await core.catalog.read { tx -> Found? in
      let project = try core.project(tx, project, of: account)
      guard let branch = try self.check(id, project, tx) else { return nil }
      guard let line = try tx.line(branch.lineID) else {
        throw ControlPlaneError(.branchNotFound, "recover branch '\(branch.name)': it has no line")
      }
      return Found(project: project, branch: branch, line: line)
    }
    let head = found.map { ($0.line.isOpened, $0.line.id) }
    var moment: ResolvedMoment?
    if let head, head.0 {
      moment = try await core.fleet.resolve(line: head.1.rawValue, moment: .head)
    }
    let resolved = moment
    return try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      guard let branch = try self.check(id, project, tx) else {
        // Repeated: it is back already.
        let branch = try core.branch(tx, id, of: project.id)
        return API.BranchRecoverResponse(
          branch: presenter.branch(branch, isDefault: project.defaultBranchID == id),
          endpoints: try tx.endpoints(of: id).map(presenter.endpoint))
      }
      let recovered = try self.revive(branch, at: resolved, project, tx)
      let endpoints = try self.endpoints(
        try tx.endpoints(of: id, deletedAt: branch.deletedAt ?? core.clock.now), of: recovered,
        project, tx)
      // Deleted endpoints are not asked when a plan becomes smaller.
      if let plan = try tx.plan(project.plan) {
        try PlanFit(plan: plan).check(
          [project], tx, doing: "recover branch '\(branch.name)'", hint: Self.largerPlan)
      }
      return API.BranchRecoverResponse(
        branch: presenter.branch(recovered, isDefault: project.defaultBranchID == id),
        endpoints: endpoints.map(presenter.endpoint))
    }
  }

  /// The deleted branch; `nil` where it is not deleted.
  private func check(
    _ id: BranchID, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> BranchRecord? {
    guard let branch = try tx.branch(id, of: project.id) else {
      throw ControlPlaneError(
        .branchNotFound, "recover branch '\(id)' in project '\(project.id)': there is none")
    }
    guard let deletedAt = branch.deletedAt else { return nil }
    let action = "recover branch '\(branch.name)'"
    try Self.check(deletedAt, isPurged: branch.isPurged, core.clock.now, action)
    try core.requireFree(tx, project.id, [OperationLock.branch(id)], doing: action)
    if try tx.branch(named: branch.name, of: project.id) != nil {
      throw ControlPlaneError(
        .branchAlreadyExists, "\(action): the project has a branch of that name meanwhile",
        hint: "rename that one and try again")
    }
    guard let plan = try tx.plan(project.plan),
      try tx.branchCount(of: project.id) < plan.branchesLimit
    else {
      throw ControlPlaneError(
        .limitReached, "\(action): the plan allows no further branch", hint: "delete one first")
    }
    return branch
  }

  private static func check(
    _ deletedAt: Date, isPurged: Bool, _ now: Date, _ action: String
  ) throws {
    let end = deletedAt.addingTimeInterval(Presenter.recoverySeconds)
    guard !isPurged, now < end else {
      throw ControlPlaneError(
        .notRecoverable,
        isPurged
          ? "\(action): it was deleted for good"
          : "\(action): it could be recovered until \(RFC3339.text(end))")
    }
  }

  private func revive(
    _ branch: BranchRecord, at moment: ResolvedMoment?, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws -> BranchRecord {
    let now = core.clock.now
    var recovered = branch
    if let moment {
      recovered.lineID = try NewLine(core: core, project: project).insert(
        at: moment, inheritsWindow: true, tx
      ).id
    }
    recovered.deletedAt = nil
    recovered.deletionMethod = nil
    recovered.updatedAt = now
    if branch.deletedAt != nil, let expiry = branch.expiresAt, expiry <= now {
      recovered.expiresAt = nil
    }
    recovered.parentID = try tx.livingBranch(branch.parentID)?.id
    try tx.update(recovered)
    return recovered
  }

  /// Endpoints that were deleted with the branch come back asleep.
  private func endpoints(
    _ deleted: [EndpointRecord], of branch: BranchRecord, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws -> [EndpointRecord] {
    try deleted.map { before in
      var endpoint = before
      endpoint.deletedAt = nil
      endpoint.state = .idle
      endpoint.pendingState = nil
      endpoint.updatedAt = core.clock.now
      try tx.update(endpoint)
      let hasCompute = try tx.compute(of: endpoint.id) != nil
      if endpoint.type == .readWrite, !hasCompute {
        _ = try NewLine(core: core, project: project).insertCompute(
          on: branch.lineID, of: branch.id, endpoint: endpoint.id, tx)
      }
      return endpoint
    }
  }

  // MARK: projects

  func project(_ id: ProjectID, account: AccountID) async throws -> API.ProjectRecoverResponse {
    let opened = try await core.catalog.read { tx -> [BranchRecord] in
      guard let project = try self.check(id, account, tx) else { return [] }
      return try tx.branches(of: project.id).filter { try tx.line($0.lineID)?.isOpened == true }
    }
    let (found, damaged) = try await heads(of: opened)
    try await core.catalog.write { tx in try self.revive(id, account, found, tx) }
    for branch in damaged {
      core.logger.warning(
        "a branch of a recovered project cannot be opened",
        metadata: [
          "project": "\(id)", "branch": "\(branch.id)", "name": "\(branch.name)",
          "error": "\(branch.reason)",
        ])
    }
    let shown = try await ProjectService(core: core).get(id, account: account)
    return try await core.catalog.read { tx in
      let main = try tx.project(id)?.defaultBranchID
      return API.ProjectRecoverResponse(
        project: shown,
        branches: try tx.branches(of: id).map { presenter.branch($0, isDefault: $0.id == main) },
        damagedBranches: damaged.isEmpty ? nil : damaged)
    }
  }

  /// Where the branches' histories end, and those that are damaged: they keep no others away.
  private func heads(
    of branches: [BranchRecord]
  ) async throws -> (heads: [BranchID: ResolvedMoment], damaged: [API.DamagedBranch]) {
    var heads: [BranchID: ResolvedMoment] = [:]
    var damaged: [API.DamagedBranch] = []
    for branch in branches {
      do {
        heads[branch.id] = try await core.fleet.resolve(
          line: branch.lineID.rawValue, moment: .head)
      } catch let error as ComputeFleetError
        where error.code == .damaged || error.code == .unknownLine
      {
        damaged.append(
          API.DamagedBranch(id: branch.id.rawValue, name: branch.name, reason: error.message))
      }
    }
    return (heads, damaged)
  }

  /// Brings the project's branches back, each from its head; one without stays where it was. They are on
  /// the plan that the owner has now.
  private func revive(
    _ id: ProjectID, _ account: AccountID, _ heads: [BranchID: ResolvedMoment],
    _ tx: CatalogTransaction
  ) throws {
    // The account's lock first, as where projects are created.
    guard let owner = try tx.project(id, of: account)?.accountID,
      let plan = try tx.lockAccount(owner).flatMap({ try tx.plan($0.plan) }),
      try tx.lockProject(id, of: account) != nil,
      var project = try check(id, account, tx), let deletedAt = project.deletedAt
    else { return }
    project.deletedAt = nil
    project.updatedAt = core.clock.now
    project.plan = plan.name
    try tx.update(project)
    for branch in try tx.branches(of: id) {
      let revived = try revive(branch, at: heads[branch.id], project, tx)
      _ = try endpoints(
        try tx.endpoints(of: branch.id, deletedAt: deletedAt), of: revived, project, tx)
    }
    try PlanFit(plan: plan).check(
      [project], tx, doing: "recover project '\(project.name)'", hint: Self.largerPlan)
  }

  private static let largerPlan =
    "have the operator put the account on a larger plan ('exzo accounts update ID --plan PLAN'), "
    + "recover, change what does not fit, and go back"

  /// The deleted project; `nil` where it is not deleted. Only its owner brings it back, as only its owner deletes it.
  private func check(
    _ id: ProjectID, _ account: AccountID, _ tx: CatalogTransaction
  ) throws -> ProjectRecord? {
    guard let project = try tx.project(id, of: account), project.accountID == account else {
      throw ControlPlaneError(.projectNotFound, "recover project '\(id)': there is none")
    }
    guard let deletedAt = project.deletedAt else { return nil }
    let action = "recover project '\(project.name)'"
    try Self.check(deletedAt, isPurged: false, core.clock.now, action)
    try core.requireFree(tx, id, [], doing: action)
    guard let owner = try tx.account(project.accountID), let plan = try tx.plan(owner.plan),
      try tx.projectCount(of: owner.id) < plan.projectsLimit
    else {
      throw ControlPlaneError(
        .limitReached, "\(action): the plan allows no further project", hint: "delete one first")
    }
    return project
  }
}

extension BranchService {
  /// Brings a deleted branch back, with the endpoints that were deleted with it.
  public func recover(
    _ id: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.BranchRecoverResponse {
    try await Recovery(core: core).branch(id, project: project, account: account)
  }
}

extension ProjectService {
  /// Brings a deleted project back with all that it held.
  public func recover(
    _ id: ProjectID, account: AccountID
  ) async throws -> API.ProjectRecoverResponse {
    try await Recovery(core: core).project(id, account: account)
  }
}
