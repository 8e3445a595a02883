import APITypes
import Catalog
import Foundation
import PostgresFormat

/// One request to make a branch: its moment is resolved first, outside any transaction, and leased
/// with the rows.
struct BranchCreation: Sendable {
  let core: Core
  let request: API.BranchCreateRequest
  let projectID: ProjectID
  let account: AccountID

  static let schemaOnly = "schema-only"

  private var isSchemaOnly: Bool { wanted.initSource == Self.schemaOnly }
  private var wanted: API.NewBranch { request.branch ?? API.NewBranch() }

  private struct Parent {
    var branch: BranchRecord
    var resolver: MomentResolver
  }

  func run() async throws -> API.CreatedBranch {
    let moment = try validated()
    let parent = try await core.catalog.read { tx in try self.parent(tx) }
    let resolved = try await parent.resolver.resolve(moment)
    let answer = try await core.catalog.write { tx in
      try self.insert(tx, parent, moment, resolved)
    }
    core.added.fire()
    return answer
  }

  private func validated() throws -> MomentRequest {
    try SettingsRules.name("branch.name", wanted.name)
    try SettingsRules.annotations("annotation_value", request.annotationValue)
    if wanted.archived == true {
      throw ControlPlaneError.unsupported("branch.archived", allowed: "false")
    }
    if let source = wanted.initSource, !["parent-data", Self.schemaOnly].contains(source) {
      throw ControlPlaneError.value(
        "branch.init_source", source, allowed: "'parent-data', '\(Self.schemaOnly)' or absent")
    }
    if let date = wanted.expiresAt {
      try BranchService.checkExpiry(date, core.clock.now)
      if wanted.isProtected == true {
        throw ControlPlaneError(
          .badValue, "'branch.expires_at' is set: a protected branch cannot expire")
      }
    }
    return try MomentRequest(
      lsn: wanted.parentLSN, time: wanted.parentTimestamp,
      names: ("branch.parent_lsn", "branch.parent_timestamp"))
  }

  private func parent(_ tx: CatalogTransaction) throws -> Parent {
    let project = try core.project(tx, projectID, of: account)
    guard let id = wanted.parentID.map({ BranchID($0) }) ?? project.defaultBranchID else {
      throw ControlPlaneError(
        .branchNotFound, "create branch: project '\(project.id)' has no default branch")
    }
    let branch = try core.branch(tx, id, of: project.id)
    try core.requireFree(
      tx, project.id, [OperationLock.branch(id)], doing: "create branch from '\(branch.name)'")
    try core.requireFilled(branch, doing: "create branch from '\(branch.name)'")
    return Parent(branch: branch, resolver: try MomentResolver(core, project, branch, tx))
  }

  private func insert(
    _ tx: CatalogTransaction, _ parent: Parent, _ moment: MomentRequest, _ resolved: ResolvedMoment
  ) throws -> API.CreatedBranch {
    let project = try core.lock(tx, projectID, of: account)
    guard let plan = try tx.plan(project.plan) else {
      throw ControlPlaneError(.projectNotFound, "create branch: the project's plan is gone")
    }
    // Deleted or busy since the moment was resolved?
    let source = try core.branch(tx, parent.branch.id, of: project.id)
    try core.requireFree(
      tx, project.id, [OperationLock.branch(source.id)],
      doing: "create branch from '\(source.name)'")
    guard try tx.branchCount(of: project.id) < plan.branchesLimit else {
      throw ControlPlaneError(
        .limitReached,
        "create branch: plan '\(plan.name)' allows \(plan.branchesLimit) branches in a project",
        hint: "delete one, or ask for a larger plan")
    }
    let branch = try insertBranch(tx, project, source, moment, resolved)
    let copy = TenantCopy(core: core, tx: tx, source: source.id, target: branch.id)
    let (roles, databases) = (try copy.roles(), try copy.databases())
    let creation = try tx.enqueue(self.operation(project, branch, source, resolved))
    let (endpoints, starts) = try insertEndpoints(of: branch, project, plan, after: creation.id, tx)
    return answer(branch, endpoints, [creation] + starts, roles, databases)
  }

  /// The one that writes comes first: replicas follow it.
  private func insertEndpoints(
    of branch: BranchRecord, _ project: ProjectRecord, _ plan: PlanRecord, after: OperationID,
    _ tx: CatalogTransaction
  ) throws -> ([EndpointRecord], [OperationRecord]) {
    var (endpoints, starts): ([EndpointRecord], [OperationRecord]) = ([], [])
    let wanted = (request.endpoints ?? []).enumerated().map { ($0.offset, $0.element) }
    let writing = wanted.filter { $0.1.type == .readWrite }
    for (index, options) in writing + wanted.filter({ $0.1.type == .readOnly }) {
      try EndpointService.requireRoom(
        for: options.type, on: branch, tx, doing: "create branch: endpoints[\(index)]")
      try SettingsRules.provisioner("endpoints[\(index)].provisioner", options.provisioner)
      let isReplica = options.type == .readOnly && !writing.isEmpty
      let (endpoint, start) = try NewRows(core: core, project: project).insertEndpoint(
        EndpointRequest(
          type: options.type, settings: options.settings, minimum: options.autoscalingLimitMinCU,
          maximum: options.autoscalingLimitMaxCU, suspendSeconds: options.suspendTimeoutSeconds,
          field: "endpoints[\(index)]."), of: branch, plan,
        after: [isReplica ? starts[0].id : after], tx)
      endpoints.append(endpoint)
      starts.append(start)
    }
    return (endpoints, starts)
  }

  private func operation(
    _ project: ProjectRecord, _ branch: BranchRecord, _ source: BranchRecord,
    _ resolved: ResolvedMoment
  ) -> OperationRecord {
    var creation = OperationRecord(
      isSchemaOnly ? .createSchemaBranch : .createBranch, core, project: project,
      branch: branch.id, locks: [OperationLock.branch(branch.id)])
    guard isSchemaOnly else { return creation }
    creation.details = [
      "source": source.id.rawValue, "source_line": resolved.lineID,
      "source_lsn": resolved.lsn.description,
    ]
    return creation
  }

  private func insertBranch(
    _ tx: CatalogTransaction, _ project: ProjectRecord, _ source: BranchRecord,
    _ moment: MomentRequest, _ resolved: ResolvedMoment
  ) throws -> BranchRecord {
    let now = core.clock.now
    let lines = NewLine(core: core, project: project)
    let line =
      try isSchemaOnly
      ? lines.insertRoot(tx) : lines.insert(at: resolved, inheritsWindow: false, tx)
    let id = core.names.branch()
    let annotation = request.annotationValue ?? [:]
    let asked: Date? = if case .time(let time) = moment { time } else { resolved.time }
    let branch = BranchRecord(
      id: id, accountID: project.accountID, plan: project.plan, projectID: project.id,
      lineID: line.id, parentID: source.id, parentLSN: resolved.lsn, parentTimestamp: asked,
      name: wanted.name ?? id.rawValue, state: "init", stateChangedAt: now,
      isProtected: wanted.isProtected ?? false, initSource: wanted.initSource ?? "parent-data",
      annotation: annotation,
      annotatedAt: annotation.isEmpty ? nil : now, expiresAt: wanted.expiresAt, createdAt: now,
      updatedAt: now)
    try BranchService.unique(branch.name) { try tx.insert(branch) }
    if isSchemaOnly { _ = try lines.insertCompute(on: line.id, of: id, tx) }
    return branch
  }

  private func answer(
    _ branch: BranchRecord, _ endpoints: [EndpointRecord], _ operations: [OperationRecord],
    _ roles: [RoleRecord], _ databases: [DatabaseRecord]
  ) -> API.CreatedBranch {
    let presenter = Presenter(core: core)
    let uris = endpoints.flatMap { endpoint in
      databases.compactMap { database -> API.ConnectionDetails? in
        guard let role = roles.first(where: { $0.name == database.ownerName && $0.canLogin }),
          let password = RoleService.password(of: role, core)
        else { return nil }
        return presenter.connection(
          endpoint: endpoint.id, role: role.name, password: password, database: database.name)
      }
    }
    return API.CreatedBranch(
      branch: presenter.branch(branch, isDefault: false),
      endpoints: endpoints.map(presenter.endpoint), operations: operations.map(presenter.operation),
      roles: roles.map { presenter.role($0) }, databases: databases.map(presenter.database),
      connectionURIs: endpoints.isEmpty ? nil : uris)
  }
}
