import Foundation

extension API {
  /// What an operation does, in the words the oldest client knows; ours is in `kind`.
  public enum OperationAction: String, WireEnumeration {
    case createCompute = "create_compute"
    case createTimeline = "create_timeline"
    case startCompute = "start_compute"
    case suspendCompute = "suspend_compute"
    case applyConfig = "apply_config"
    case checkAvailability = "check_availability"
    case deleteTimeline = "delete_timeline"
    case createBranch = "create_branch"
    case importData = "import_data"
    case tenantIgnore = "tenant_ignore"
    case tenantAttach = "tenant_attach"
    case tenantDetach = "tenant_detach"
    case tenantReattach = "tenant_reattach"
    case replaceSafekeeper = "replace_safekeeper"
    case disableMaintenance = "disable_maintenance"
    case applyStorageConfig = "apply_storage_config"
    case prepareSecondaryPageserver = "prepare_secondary_pageserver"
    case switchPageserver = "switch_pageserver"
    case detachParentBranch = "detach_parent_branch"
    case timelineArchive = "timeline_archive"
    case timelineUnarchive = "timeline_unarchive"
    case startReservedCompute = "start_reserved_compute"
    case syncDbsAndRolesFromCompute = "sync_dbs_and_roles_from_compute"
    case applySchemaFromBranch = "apply_schema_from_branch"
    case timelineMarkInvisible = "timeline_mark_invisible"
    case timelineUpdateProtectedConfig = "timeline_update_protected_config"
    case prewarmReplica = "prewarm_replica"
    case promoteReplica = "promote_replica"
    case setStorageNonDirty = "set_storage_non_dirty"
    case swapBindingId = "swap_binding_id"
    case finalizeMigration = "finalize_migration"
    case markMigrationPrepared = "mark_migration_prepared"
  }

  /// How far an operation is. `finished`, `failed`, `cancelled` and `skipped` are final.
  public enum OperationStatus: String, WireEnumeration {
    case scheduling
    case running
    case finished
    case failed
    case error
    case cancelling
    case cancelled
    case skipped
  }

  /// Durable control-plane work: poll it until its status is final.
  public struct Operation: Codable, Hashable, Sendable {
    public var id: String
    public var projectID: String
    public var branchID: String?
    public var endpointID: String?
    public var action: OperationAction
    public var status: OperationStatus
    /// Why the operation failed; a sentence with what to do next.
    public var error: String?
    public var failuresCount: Int
    public var retryAt: Date?
    public var createdAt: Date
    public var updatedAt: Date
    public var totalDurationMilliseconds: Int
    /// Our own word for the work, finer than `action`.
    public var kind: String?
    /// What it did that the caller should know, one sentence each.
    public var notes: [String]?

    public init(
      id: String, projectID: String, branchID: String? = nil, endpointID: String? = nil,
      action: OperationAction, status: OperationStatus, error: String? = nil, failuresCount: Int,
      retryAt: Date? = nil, createdAt: Date, updatedAt: Date, totalDurationMilliseconds: Int,
      kind: String? = nil
    ) {
      self.id = id
      self.projectID = projectID
      self.branchID = branchID
      self.endpointID = endpointID
      self.action = action
      self.status = status
      self.error = error
      self.failuresCount = failuresCount
      self.retryAt = retryAt
      self.createdAt = createdAt
      self.updatedAt = updatedAt
      self.totalDurationMilliseconds = totalDurationMilliseconds
      self.kind = kind
    }

    enum CodingKeys: String, CodingKey {
      case id, action, status, error, kind, notes
      case projectID = "project_id"
      case branchID = "branch_id"
      case endpointID = "endpoint_id"
      case failuresCount = "failures_count"
      case retryAt = "retry_at"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
      case totalDurationMilliseconds = "total_duration_ms"
    }
  }

  /// The answer that carries one operation.
  public struct OperationResponse: Codable, Hashable, Sendable {
    public var operation: Operation

    public init(operation: Operation) {
      self.operation = operation
    }
  }

  /// The answer that carries operations only.
  public struct OperationsResponse: Codable, Hashable, Sendable {
    public var operations: [Operation]

    public init(operations: [Operation]) {
      self.operations = operations
    }
  }

  /// One page of a project's operations.
  public struct OperationListResponse: Codable, Hashable, Sendable {
    public var operations: [Operation]
    public var pagination: Pagination?

    public init(operations: [Operation], pagination: Pagination? = nil) {
      self.operations = operations
      self.pagination = pagination
    }
  }
}
