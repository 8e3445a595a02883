import APITypes
import Catalog
import Foundation

/// An endpoint as a request describes it.
struct EndpointRequest {
  var type: API.EndpointType
  var name: String?
  var settings: API.EndpointSettings?
  var minimum: Double?
  var maximum: Double?
  var suspendSeconds: Int?
  var isDisabled = false
  var field = "endpoint."
}

/// Makes rows that carry their project's account and plan.
struct NewRows {
  let core: Core
  let project: ProjectRecord

  func role(
    _ name: String, of branch: BranchID, password: String, isProtected: Bool, canLogin: Bool
  ) throws -> RoleRecord {
    let now = core.clock.now
    let isStored = canLogin && project.storePasswords
    let sealed = try core.sealer.seal(
      Array(password.utf8), context: Core.passwordContext(branch, name))
    return RoleRecord(
      branchID: branch, name: name, accountID: project.accountID, plan: project.plan,
      projectID: project.id, canLogin: canLogin, isProtected: isProtected,
      sealedPassword: isStored ? sealed : nil,
      scramVerifier: canLogin
        ? SCRAMVerifierFactory.verifier(password: password, salt: core.random.bytes(16)) : nil,
      isDropped: false, createdAt: now, updatedAt: now)
  }

  func database(_ name: String, owner: String, of branch: BranchID, id: Int) -> DatabaseRecord {
    let now = core.clock.now
    return DatabaseRecord(
      id: id, branchID: branch, accountID: project.accountID, plan: project.plan,
      projectID: project.id, name: name, ownerName: owner, isDropped: false, createdAt: now,
      updatedAt: now)
  }

  /// Adds an endpoint with its compute and the operation that starts it.
  func insertEndpoint(
    _ request: EndpointRequest, of branch: BranchRecord, _ plan: PlanRecord, after: [OperationID],
    _ tx: CatalogTransaction
  ) throws -> (EndpointRecord, OperationRecord) {
    let defaults = project.defaultEndpointSettings
    let low = defaults.autoscalingLimitMinCU ?? ComputeSize.standard
    let sizes = try SettingsRules.sizes(
      request.field, request.minimum, request.maximum,
      default: low...max(low, defaults.autoscalingLimitMaxCU ?? low), plan)
    try SettingsRules.suspendTimeout(
      "\(request.field)suspend_timeout_seconds", request.suspendSeconds)
    try SettingsRules.endpointSettings("\(request.field)settings", request.settings)
    try SettingsRules.name("\(request.field)name", request.name)
    if !request.isDisabled {
      try QuotaService(core: core).require(project, tx, doing: "start a compute")
    }
    let now = core.clock.now
    let endpoint = EndpointRecord(
      id: core.names.endpoint(), accountID: project.accountID, plan: project.plan,
      projectID: project.id, branchID: branch.id, name: request.name, type: request.type,
      computeUnitsMinimum: sizes.lowerBound, computeUnitsMaximum: sizes.upperBound,
      suspendTimeoutSeconds: request.suspendSeconds ?? defaults.suspendTimeoutSeconds ?? 0,
      settings: request.settings ?? API.EndpointSettings(), isDisabled: request.isDisabled,
      state: request.isDisabled ? .idle : .`init`,
      pendingState: request.isDisabled ? nil : .active, createdAt: now, updatedAt: now)
    try tx.insert(endpoint)
    if request.type == .readWrite { try placeCompute(of: endpoint, branch, tx) }
    let start = try tx.enqueue(
      OperationRecord(
        request.isDisabled ? .applyEndpointSettings : .startCompute, core, project: project,
        branch: branch.id, endpoint: endpoint.id,
        locks: [OperationLock.endpoint(endpoint.id)], after: after))
    return (endpoint, start)
  }

  /// The branch's compute and its volume outlive endpoints: the new one takes it over.
  func placeCompute(
    of endpoint: EndpointRecord, _ branch: BranchRecord, _ tx: CatalogTransaction
  ) throws {
    try core.refuseAttached(
      tx, branch.lineID, isOverFine: false, doing: "give branch '\(branch.name)' an endpoint")
    let present = try tx.computes(project: project.id, branch: branch.id, endpoint: nil)
    if var compute = present.first(where: { $0.lineID == branch.lineID }) {
      compute.endpointID = endpoint.id
      return try tx.update(compute)
    }
    try tx.insert(
      ComputeRecord(
        id: core.names.compute(), accountID: project.accountID, plan: project.plan,
        projectID: project.id, branchID: branch.id, endpointID: endpoint.id, lineID: branch.lineID,
        createdAt: core.clock.now))
  }
}
