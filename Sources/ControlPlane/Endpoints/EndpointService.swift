import APITypes
import Catalog
import Foundation

/// Endpoints: create, list, read, change, start, suspend, restart, delete.
public struct EndpointService: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  public func create(
    _ request: API.NewEndpoint, project: ProjectID, account: AccountID
  ) async throws -> API.EndpointOperations {
    try SettingsRules(installation: core.settings).region("endpoint.region_id", request.regionID)
    try SettingsRules.provisioner("endpoint.provisioner", request.provisioner)
    try refuse(pooler: request.poolerEnabled, passwordless: request.passwordlessAccess)
    let answer = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, BranchID(request.branchID), of: project.id)
      try core.requireFree(
        tx, project.id, [OperationLock.branch(branch.id)],
        doing: "create endpoint of branch '\(branch.name)'")
      try core.requireFilled(branch, doing: "create endpoint")
      guard let plan = try tx.plan(project.plan) else {
        throw ControlPlaneError(.projectNotFound, "create endpoint: the project's plan is gone")
      }
      try Self.requireRoom(for: request.type, on: branch, tx, doing: "create endpoint")
      try ConnectionLimit.check(request.settings, request.type, on: branch.id, of: project, tx)
      let (endpoint, operation) = try NewRows(core: core, project: project).insertEndpoint(
        EndpointRequest(
          type: request.type, name: request.name, settings: request.settings,
          minimum: request.autoscalingLimitMinCU, maximum: request.autoscalingLimitMaxCU,
          suspendSeconds: request.suspendTimeoutSeconds, isDisabled: request.isDisabled ?? false),
        of: branch, plan, after: [], tx)
      return API.EndpointOperations(
        endpoint: presenter.endpoint(endpoint), operations: [presenter.operation(operation)])
    }
    core.added.fire()
    return answer
  }

  /// A branch has one endpoint that writes, and so many that read.
  static func requireRoom(
    for type: API.EndpointType, on branch: BranchRecord, _ tx: CatalogTransaction,
    doing action: String
  ) throws {
    if type == .readOnly {
      return try ReplicaComputes.requireRoom(on: branch, tx, doing: action)
    }
    if let other = try tx.endpoints(of: branch.id).first(where: { $0.type == .readWrite }) {
      throw ControlPlaneError(
        .endpointAlreadyExists,
        "\(action): branch '\(branch.name)' has '\(other.id)' of type read_write",
        hint: "use it, delete it, or move it away; a read_only one can stand beside it")
    }
  }

  /// A protected branch keeps its endpoints.
  static func requireUnprotected(
    _ branch: BranchID, _ tx: CatalogTransaction, doing action: String
  ) throws {
    guard let branch = try tx.branch(branch), branch.isProtected else { return }
    throw ControlPlaneError(
      .branchIsProtected, "\(action): its branch '\(branch.name)' is protected",
      hint: "remove the protection first")
  }

  /// The pooler needs no switch: where there is one, every endpoint's `-pooler` name pools.
  private func refuse(pooler: Bool?, passwordless: Bool?) throws {
    if let pooler, pooler != core.settings.hasPooler {
      throw ControlPlaneError.unsupported(
        "endpoint.pooler_enabled",
        allowed: pooler
          ? "install the package pgbouncer on the server"
          : "true: the '-pooler' name pools, the endpoint's own does not")
    }
    if passwordless == true {
      throw ControlPlaneError.unsupported("endpoint.passwordless_access", allowed: "false")
    }
  }

  public func list(project: ProjectID, account: AccountID) async throws -> [API.Endpoint] {
    try await core.catalog.read { tx in
      try tx.endpoints(of: try core.project(tx, project, of: account).id).map(presenter.endpoint)
    }
  }

  public func list(
    branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> [API.Endpoint] {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      return try tx.endpoints(of: try core.branch(tx, branch, of: project.id).id)
        .map(presenter.endpoint)
    }
  }

  public func get(
    _ id: EndpointID, project: ProjectID, account: AccountID
  ) async throws -> API.Endpoint {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      return presenter.endpoint(try core.endpoint(tx, id, of: project.id))
    }
  }

  /// Changes settings; a running compute is restarted where they need it.
  public func update(
    _ id: EndpointID, _ change: API.EndpointUpdate, project: ProjectID, account: AccountID
  ) async throws -> API.EndpointOperations {
    try SettingsRules.provisioner("endpoint.provisioner", change.provisioner)
    try refuse(pooler: change.poolerEnabled, passwordless: change.passwordlessAccess)
    let answer = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let before = try core.endpoint(tx, id, of: project.id)
      try core.requireFree(
        tx, project.id, [OperationLock.endpoint(id)], doing: "change endpoint '\(id)'")
      var endpoint = before
      try self.apply(change, to: &endpoint, project, tx)
      if let branch = change.branchID, branch != before.branchID.rawValue {
        let operations = try EndpointMove(core: core, project: project).move(
          &endpoint, to: BranchID(branch), tx)
        return API.EndpointOperations(
          endpoint: presenter.endpoint(endpoint), operations: operations.map(presenter.operation))
      }
      let needsRestart =
        endpoint.settings != before.settings
        || endpoint.computeUnitsMaximum != before.computeUnitsMaximum
      var operations: [OperationRecord] = []
      if endpoint.isDisabled, !before.isDisabled, endpoint.state != .idle {
        endpoint.pendingState = .idle
        operations.append(try self.enqueue(.suspendCompute, endpoint, project, tx))
      } else if needsRestart {
        operations.append(try self.enqueue(.applyEndpointSettings, endpoint, project, tx))
      }
      try tx.update(endpoint)
      return API.EndpointOperations(
        endpoint: presenter.endpoint(endpoint), operations: operations.map(presenter.operation))
    }
    core.added.fire()
    return answer
  }

  private func apply(
    _ change: API.EndpointUpdate, to endpoint: inout EndpointRecord, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws {
    guard let plan = try tx.plan(project.plan) else {
      throw ControlPlaneError(.projectNotFound, "change endpoint: the project's plan is gone")
    }
    try SettingsRules.name("endpoint.name", change.name)
    try SettingsRules.endpointSettings("endpoint.settings", change.settings)
    try ConnectionLimit.check(
      change.settings, endpoint.type, on: endpoint.branchID, of: project, tx)
    try SettingsRules.suspendTimeout(
      "endpoint.suspend_timeout_seconds", change.suspendTimeoutSeconds)
    if let least = change.autoscalingLimitMinCU, change.autoscalingLimitMaxCU == nil,
      least > endpoint.computeUnitsMaximum
    {
      throw ControlPlaneError.value(
        "endpoint.autoscaling_limit_min_cu", least,
        allowed: "at most autoscaling_limit_max_cu, which is \(endpoint.computeUnitsMaximum): "
          + "name that, too, to raise it")
    }
    let sizes = try SettingsRules.sizes(
      "endpoint.", change.autoscalingLimitMinCU, change.autoscalingLimitMaxCU,
      default: endpoint.computeUnitsMinimum...endpoint.computeUnitsMaximum, plan)
    endpoint.computeUnitsMinimum = sizes.lowerBound
    endpoint.computeUnitsMaximum = sizes.upperBound
    if let name = change.name { endpoint.name = name }
    if let settings = change.settings { endpoint.settings = endpoint.settings.merging(settings) }
    if let seconds = change.suspendTimeoutSeconds { endpoint.suspendTimeoutSeconds = seconds }
    if let isDisabled = change.isDisabled { endpoint.isDisabled = isDisabled }
    endpoint.updatedAt = core.clock.now
  }

  private func enqueue(
    _ kind: OperationKind, _ endpoint: EndpointRecord, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws -> OperationRecord {
    try tx.enqueue(
      OperationRecord(
        kind, core, project: project, branch: endpoint.branchID, endpoint: endpoint.id,
        locks: [OperationLock.endpoint(endpoint.id)]))
  }

  /// Starts the compute; one that is active answers without an operation.
  public func start(
    _ id: EndpointID, project: ProjectID, account: AccountID
  ) async throws -> API.EndpointOperations {
    try await change(id, project, account, .startCompute, to: .active) { $0.state != .active }
  }

  public func suspend(
    _ id: EndpointID, project: ProjectID, account: AccountID
  ) async throws -> API.EndpointOperations {
    try await change(id, project, account, .suspendCompute, to: .idle) { $0.state != .idle }
  }

  /// Stops and starts the compute; one that is idle is started.
  public func restart(
    _ id: EndpointID, project: ProjectID, account: AccountID
  ) async throws -> API.EndpointOperations {
    try await change(id, project, account, .restartCompute, to: .active) { _ in true }
  }

  func change(
    _ id: EndpointID, _ project: ProjectID, _ account: AccountID, _ kind: OperationKind,
    to state: API.EndpointState, where isNeeded: @escaping @Sendable (EndpointRecord) -> Bool
  ) async throws -> API.EndpointOperations {
    let answer = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      var endpoint = try core.endpoint(tx, id, of: project.id)
      let action = "\(kind.rawValue.replacing("_", with: " ")) of endpoint '\(id)'"
      try core.requireFree(
        tx, project.id,
        [OperationLock.endpoint(id), OperationLock.branch(endpoint.branchID)], doing: action)
      if endpoint.isDisabled, state == .active {
        throw ControlPlaneError(
          .endpointDisabled, "\(action): the endpoint is disabled", hint: "enable it first")
      }
      if state == .active, let branch = try tx.branch(endpoint.branchID) {
        try core.requireFilled(branch, doing: action)
      }
      guard isNeeded(endpoint) else {
        return API.EndpointOperations(endpoint: presenter.endpoint(endpoint), operations: [])
      }
      if state == .active {
        try QuotaService(core: core).require(project, tx, doing: action)
      }
      endpoint.pendingState = state
      endpoint.updatedAt = core.clock.now
      try tx.update(endpoint)
      let operation = try self.enqueue(kind, endpoint, project, tx)
      return API.EndpointOperations(
        endpoint: presenter.endpoint(endpoint), operations: [presenter.operation(operation)])
    }
    core.added.fire()
    return answer
  }

  /// Deletes an endpoint; its branch stays. Deleting a deleted one answers as the first time.
  public func delete(
    _ id: EndpointID, project: ProjectID, account: AccountID
  ) async throws -> API.EndpointOperations {
    let answer = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account, includesDeleted: true)
      guard var endpoint = try tx.endpoint(id, of: project.id) else {
        throw ControlPlaneError(
          .endpointNotFound, "delete endpoint '\(id)' in project '\(project.id)': there is none")
      }
      guard endpoint.deletedAt == nil, project.deletedAt == nil else {
        return API.EndpointOperations(endpoint: presenter.endpoint(endpoint), operations: [])
      }
      let locks = [OperationLock.endpoint(id), OperationLock.branch(endpoint.branchID)]
      try core.requireFree(tx, project.id, locks, doing: "delete endpoint '\(id)'")
      try Self.requireUnprotected(endpoint.branchID, tx, doing: "delete endpoint '\(id)'")
      endpoint.deletedAt = core.clock.now
      try tx.update(endpoint)
      let operation = try tx.enqueue(
        OperationRecord(
          .deleteEndpoint, core, project: project, branch: endpoint.branchID, endpoint: id,
          locks: locks))
      return API.EndpointOperations(
        endpoint: presenter.endpoint(endpoint), operations: [presenter.operation(operation)])
    }
    core.added.fire()
    return answer
  }
}
