import APITypes
import Catalog
import Foundation

/// What operations do, in our words; the raw values are stored and shown as `kind`.
enum OperationKind: String, CaseIterable, Sendable {
  case createProject = "create_project"
  case createBranch = "create_branch"
  case startCompute = "start_compute"
  case suspendCompute = "suspend_compute"
  case restartCompute = "restart_compute"
  case applyEndpointSettings = "apply_endpoint_settings"
  case applyRolesAndDatabases = "apply_roles_and_databases"
  case deleteEndpoint = "delete_endpoint"
  case deleteBranch = "delete_branch"
  case deleteProject = "delete_project"
  case restoreBranch = "restore_branch"
  case finalizeRestore = "finalize_restore"
  case retireCompute = "retire_compute"
  case discardCompute = "discard_compute"
  case createSchemaBranch = "create_schema_branch"
  case makeDump = "make_dump"
  case verifyDump = "verify_dump"
  case restoreDump = "restore_dump"
  case recoverTable = "recover_table"
  case attachSource = "attach_source"
  case detachSource = "detach_source"
  case releaseFormer = "release_former"

  /// Kinds that may run for hours: they have workers of their own, so that they hold up no other.
  static let long: [OperationKind] = [.makeDump, .verifyDump, .restoreDump, .recoverTable]
  /// Copies of servers that live elsewhere; the agent works, the step only waits.
  static let copies: [OperationKind] = [.attachSource]
  /// Kinds that take away what is gone for the user, who cannot ask for it again: what stands in their way may pass.
  static let removals: Set<OperationKind> = [
    .deleteBranch, .deleteProject, .discardCompute, .releaseFormer,
  ]
  /// The same, but others wait for them: of branches that go on.
  static let partRemovals: Set<OperationKind> = [.deleteEndpoint, .retireCompute]

  /// Kinds by which a branch's endpoints come to lead to another line: their second step moves them.
  static let moves: Set<OperationKind> = [.restoreBranch, .finalizeRestore]
  /// Kinds that work in a running compute as its clients do, who go on beside them.
  static let besideClients: Set<OperationKind> = [.restoreDump, .recoverTable]
  /// Kinds that bring a compute up: where one fails, whoever waits for the compute is told. After others the
  /// compute is there, or can be started.
  static let starts: Set<OperationKind> = [
    .createProject, .createBranch, .createSchemaBranch, .startCompute, .restartCompute,
    .applyEndpointSettings, .attachSource,
  ]

  /// The word for it that the oldest client knows.
  var action: API.OperationAction {
    switch self {
    case .createProject: .createTimeline
    case .createBranch: .createBranch
    case .createSchemaBranch: .createBranch
    case .restoreBranch: .createTimeline
    case .finalizeRestore: .applyConfig
    case .retireCompute, .discardCompute: .suspendCompute
    case .startCompute, .restartCompute: .startCompute
    case .suspendCompute, .deleteEndpoint: .suspendCompute
    case .applyEndpointSettings, .applyRolesAndDatabases: .applyConfig
    case .deleteBranch, .deleteProject: .deleteTimeline
    case .makeDump: .startReservedCompute
    case .verifyDump: .checkAvailability
    case .restoreDump, .recoverTable: .applyConfig
    case .attachSource: .tenantAttach
    case .detachSource, .releaseFormer: .tenantDetach
    }
  }

  /// What is done, in order. Each step may be done twice; between two steps `serve` may die.
  var steps: [OperationStep] {
    switch self {
    case .createProject: [.makeRootLine, .markBranchReady]
    case .createBranch: [.markBranchReady]
    case .startCompute: [.startCompute, .configureTenants, .markActive]
    case .suspendCompute: [.stopCompute, .markIdle]
    case .restartCompute: [.stopCompute, .startCompute, .configureTenants, .markActive]
    case .applyEndpointSettings: [.restartIfActive]
    case .applyRolesAndDatabases: [.configureIfActive]
    case .deleteEndpoint: [.stopComputes]
    case .deleteBranch, .deleteProject: [.destroyComputes]
    case .restoreBranch:
      [.openRestoredLine, .moveBranchPointer, .configureRestored, .dropFormerSessions]
    case .finalizeRestore:
      [.openFinalizedLine, .exchangeBranches, .configureRestored, .dropFormerSessions]
    case .retireCompute: [.stopComputes]
    case .discardCompute: [.discardCompute]
    case .createSchemaBranch: [.makeRootLine, .copySchema, .markBranchReady]
    case .makeDump: [.makeDump, .verifyDump]
    case .verifyDump: [.verifyDump]
    case .restoreDump: [.restoreDump]
    case .recoverTable: [.recoverTable]
    case .attachSource: [.copySource, .markBranchReady]
    case .detachSource: [.releaseSource]
    case .releaseFormer: [.releaseFormer]
    }
  }
}

extension Set<OperationKind> {
  func has(_ operation: OperationRecord) -> Bool {
    OperationKind(rawValue: operation.kind).map(contains) ?? false
  }
}

/// One step of an operation.
enum OperationStep: String, CaseIterable, Sendable {
  case makeRootLine = "make_root_line"
  case markBranchReady = "mark_branch_ready"
  case startCompute = "start_compute"
  case configureTenants = "configure_tenants"
  case markActive = "mark_active"
  case stopCompute = "stop_compute"
  case markIdle = "mark_idle"
  case restartIfActive = "restart_if_active"
  case configureIfActive = "configure_if_active"
  case stopComputes = "stop_computes"
  case destroyComputes = "destroy_computes"
  case openRestoredLine = "open_restored_line"
  case moveBranchPointer = "move_branch_pointer"
  case openFinalizedLine = "open_finalized_line"
  case exchangeBranches = "exchange_branches"
  case configureRestored = "configure_restored"
  case dropFormerSessions = "drop_former_sessions"
  case discardCompute = "discard_compute"
  case copySchema = "copy_schema"
  case makeDump = "make_dump"
  case verifyDump = "verify_dump"
  case restoreDump = "restore_dump"
  case recoverTable = "recover_table"
  case copySource = "copy_source"
  case releaseSource = "release_source"
  case releaseFormer = "release_former"
}

/// Names of what unfinished operations hold.
enum OperationLock {
  static func project(_ id: ProjectID) -> String { "project:\(id)" }
  static func branch(_ id: BranchID) -> String { "branch:\(id)" }
  static func endpoint(_ id: EndpointID) -> String { "endpoint:\(id)" }
  static func dump(_ id: DumpID) -> String { "dump:\(id)" }
  static func attachment(_ id: ProjectID) -> String { "attachment:\(id)" }
}

extension OperationRecord {
  /// A new operation on `project`; the catalog gives it its position.
  init(
    _ kind: OperationKind, _ core: Core, project: ProjectRecord, branch: BranchID? = nil,
    endpoint: EndpointID? = nil, locks: [String], after: [OperationID] = []
  ) {
    let now = core.clock.now
    self.init(
      id: core.names.operation(), position: 0, accountID: project.accountID, plan: project.plan,
      projectID: project.id, branchID: branch, endpointID: endpoint, action: kind.action,
      kind: kind.rawValue, status: .scheduling, stepsDone: 0, locks: locks, waitsFor: after,
      details: [:], failuresCount: 0, createdAt: now, updatedAt: now)
  }

  var isFinal: Bool { status != .scheduling && status != .running && status != .cancelling }
}
