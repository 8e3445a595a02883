import Foundation

extension API {
  /// Limits of one billing period; 0 or absent means none.
  public struct ProjectQuota: Codable, Hashable, Sendable {
    public var activeTimeSeconds: Int?
    public var computeTimeSeconds: Int?
    public var writtenDataBytes: Int?
    public var dataTransferBytes: Int?
    public var logicalSizeBytes: Int?

    public init(
      activeTimeSeconds: Int? = nil, computeTimeSeconds: Int? = nil, writtenDataBytes: Int? = nil,
      dataTransferBytes: Int? = nil, logicalSizeBytes: Int? = nil
    ) {
      self.activeTimeSeconds = activeTimeSeconds
      self.computeTimeSeconds = computeTimeSeconds
      self.writtenDataBytes = writtenDataBytes
      self.dataTransferBytes = dataTransferBytes
      self.logicalSizeBytes = logicalSizeBytes
    }

    enum CodingKeys: String, CodingKey {
      case activeTimeSeconds = "active_time_seconds"
      case computeTimeSeconds = "compute_time_seconds"
      case writtenDataBytes = "written_data_bytes"
      case dataTransferBytes = "data_transfer_bytes"
      case logicalSizeBytes = "logical_size_bytes"
    }
  }

  /// Addresses that may connect.
  public struct AllowedIPs: Codable, Hashable, Sendable {
    public var ips: [String]?
    public var protectedBranchesOnly: Bool?

    public init(ips: [String]? = nil, protectedBranchesOnly: Bool? = nil) {
      self.ips = ips
      self.protectedBranchesOnly = protectedBranchesOnly
    }

    enum CodingKeys: String, CodingKey {
      case ips
      case protectedBranchesOnly = "protected_branches_only"
    }
  }

  /// Libraries that a compute loads when it starts.
  public struct PreloadLibraries: Codable, Hashable, Sendable {
    public var useDefaults: Bool?
    public var enabledLibraries: [String]?

    public init(useDefaults: Bool? = nil, enabledLibraries: [String]? = nil) {
      self.useDefaults = useDefaults
      self.enabledLibraries = enabledLibraries
    }

    enum CodingKeys: String, CodingKey {
      case useDefaults = "use_defaults"
      case enabledLibraries = "enabled_libraries"
    }
  }

  /// When a compute may be restarted for maintenance; weekdays 1 to 7, Monday is 1.
  public struct MaintenanceWindow: Codable, Hashable, Sendable {
    public var weekdays: [Int]
    public var startTime: String
    public var endTime: String

    public init(weekdays: [Int], startTime: String, endTime: String) {
      self.weekdays = weekdays
      self.startTime = startTime
      self.endTime = endTime
    }

    enum CodingKeys: String, CodingKey {
      case weekdays
      case startTime = "start_time"
      case endTime = "end_time"
    }
  }

  /// How much a project's sessions are audited.
  public enum ProjectAuditLogLevel: String, WireEnumeration {
    case base
    case extended
    case full
  }

  /// Settings of a project as requests and answers carry them.
  public struct ProjectSettings: Codable, Hashable, Sendable {
    public var quota: ProjectQuota?
    public var allowedIPs: AllowedIPs?
    public var enableLogicalReplication: Bool?
    public var maintenanceWindow: MaintenanceWindow?
    public var blockPublicConnections: Bool?
    public var blockVpcConnections: Bool?
    public var auditLogLevel: ProjectAuditLogLevel?
    public var hipaa: Bool?
    public var preloadLibraries: PreloadLibraries?

    public init(
      quota: ProjectQuota? = nil, allowedIPs: AllowedIPs? = nil,
      enableLogicalReplication: Bool? = nil, maintenanceWindow: MaintenanceWindow? = nil,
      blockPublicConnections: Bool? = nil, blockVpcConnections: Bool? = nil,
      auditLogLevel: ProjectAuditLogLevel? = nil, hipaa: Bool? = nil,
      preloadLibraries: PreloadLibraries? = nil
    ) {
      self.quota = quota
      self.allowedIPs = allowedIPs
      self.enableLogicalReplication = enableLogicalReplication
      self.maintenanceWindow = maintenanceWindow
      self.blockPublicConnections = blockPublicConnections
      self.blockVpcConnections = blockVpcConnections
      self.auditLogLevel = auditLogLevel
      self.hipaa = hipaa
      self.preloadLibraries = preloadLibraries
    }

    enum CodingKeys: String, CodingKey {
      case quota, hipaa
      case allowedIPs = "allowed_ips"
      case enableLogicalReplication = "enable_logical_replication"
      case maintenanceWindow = "maintenance_window"
      case blockPublicConnections = "block_public_connections"
      case blockVpcConnections = "block_vpc_connections"
      case auditLogLevel = "audit_log_level"
      case preloadLibraries = "preload_libraries"
    }
  }

  /// What new endpoints of a project start from.
  public struct DefaultEndpointSettings: Codable, Hashable, Sendable {
    public var pgSettings: [String: String]?
    public var pgbouncerSettings: [String: String]?
    public var autoscalingLimitMinCU: Double?
    public var autoscalingLimitMaxCU: Double?
    public var suspendTimeoutSeconds: Int?

    public init(
      pgSettings: [String: String]? = nil, pgbouncerSettings: [String: String]? = nil,
      autoscalingLimitMinCU: Double? = nil, autoscalingLimitMaxCU: Double? = nil,
      suspendTimeoutSeconds: Int? = nil
    ) {
      self.pgSettings = pgSettings
      self.pgbouncerSettings = pgbouncerSettings
      self.autoscalingLimitMinCU = autoscalingLimitMinCU
      self.autoscalingLimitMaxCU = autoscalingLimitMaxCU
      self.suspendTimeoutSeconds = suspendTimeoutSeconds
    }

    enum CodingKeys: String, CodingKey {
      case pgSettings = "pg_settings"
      case pgbouncerSettings = "pgbouncer_settings"
      case autoscalingLimitMinCU = "autoscaling_limit_min_cu"
      case autoscalingLimitMaxCU = "autoscaling_limit_max_cu"
      case suspendTimeoutSeconds = "suspend_timeout_seconds"
    }
  }

  /// What the caller may do with a project.
  public enum ProjectPermissionLevel: String, WireEnumeration {
    case canView = "CAN_VIEW"
    case canEdit = "CAN_EDIT"
    case canManage = "CAN_MANAGE"
  }

  /// Who pays for a project.
  public struct ProjectOwner: Codable, Hashable, Sendable {
    public var email: String
    public var name: String
    public var branchesLimit: Int
    public var subscriptionType: String

    public init(email: String, name: String, branchesLimit: Int, subscriptionType: String) {
      self.email = email
      self.name = name
      self.branchesLimit = branchesLimit
      self.subscriptionType = subscriptionType
    }

    enum CodingKeys: String, CodingKey {
      case email, name
      case branchesLimit = "branches_limit"
      case subscriptionType = "subscription_type"
    }
  }

  /// The answer that carries one project.
  public struct ProjectResponse: Codable, Hashable, Sendable {
    public var project: Project

    public init(project: Project) {
      self.project = project
    }
  }

  /// A project and the operations that the request started.
  public struct ProjectOperations: Codable, Hashable, Sendable {
    public var project: Project
    public var operations: [Operation]

    public init(project: Project, operations: [Operation]) {
      self.project = project
      self.operations = operations
    }
  }
}
