import Foundation

extension API {
  /// A cluster lineage: its branches, settings and plan.
  public struct Project: Codable, Hashable, Sendable {
    public var dataStorageBytesHour: Int
    public var dataTransferBytes: Int
    public var writtenDataBytes: Int
    public var computeTimeSeconds: Int
    public var activeTimeSeconds: Int
    public var cpuUsedSec: Int
    public var id: String
    public var platformID: String
    public var regionID: String
    public var name: String
    public var provisioner: String
    public var defaultEndpointSettings: DefaultEndpointSettings?
    public var settings: ProjectSettings?
    public var pgVersion: Int
    public var proxyHost: String
    public var branchLogicalSizeLimit: Int
    public var branchLogicalSizeLimitBytes: Int
    public var storePasswords: Bool
    public var maintenanceStartsAt: Date?
    public var creationSource: String
    public var historyRetentionSeconds: Int
    public var createdAt: Date
    public var updatedAt: Date
    public var syntheticStorageSize: Int?
    public var consumptionPeriodStart: Date
    public var consumptionPeriodEnd: Date
    public var quotaResetAt: Date?
    public var ownerID: String
    public var owner: ProjectOwner?
    public var computeLastActiveAt: Date?
    public var orgID: String?
    public var maintenanceScheduledFor: Date?
    public var hipaaEnabledAt: Date?
    /// Ours: what a commit waits for.
    public var durability: Durability?

    public init(
      dataStorageBytesHour: Int, dataTransferBytes: Int, writtenDataBytes: Int,
      computeTimeSeconds: Int, activeTimeSeconds: Int, cpuUsedSec: Int, id: String,
      platformID: String, regionID: String, name: String, provisioner: String,
      defaultEndpointSettings: DefaultEndpointSettings? = nil, settings: ProjectSettings? = nil,
      pgVersion: Int, proxyHost: String, branchLogicalSizeLimit: Int,
      branchLogicalSizeLimitBytes: Int, storePasswords: Bool, maintenanceStartsAt: Date? = nil,
      creationSource: String, historyRetentionSeconds: Int, createdAt: Date, updatedAt: Date,
      syntheticStorageSize: Int? = nil, consumptionPeriodStart: Date, consumptionPeriodEnd: Date,
      quotaResetAt: Date? = nil, ownerID: String, owner: ProjectOwner? = nil,
      computeLastActiveAt: Date? = nil, orgID: String? = nil, maintenanceScheduledFor: Date? = nil,
      hipaaEnabledAt: Date? = nil, durability: Durability? = nil
    ) {
      self.dataStorageBytesHour = dataStorageBytesHour
      self.dataTransferBytes = dataTransferBytes
      self.writtenDataBytes = writtenDataBytes
      self.computeTimeSeconds = computeTimeSeconds
      self.activeTimeSeconds = activeTimeSeconds
      self.cpuUsedSec = cpuUsedSec
      self.id = id
      self.platformID = platformID
      self.regionID = regionID
      self.name = name
      self.provisioner = provisioner
      self.defaultEndpointSettings = defaultEndpointSettings
      self.settings = settings
      self.pgVersion = pgVersion
      self.proxyHost = proxyHost
      self.branchLogicalSizeLimit = branchLogicalSizeLimit
      self.branchLogicalSizeLimitBytes = branchLogicalSizeLimitBytes
      self.storePasswords = storePasswords
      self.maintenanceStartsAt = maintenanceStartsAt
      self.creationSource = creationSource
      self.historyRetentionSeconds = historyRetentionSeconds
      self.createdAt = createdAt
      self.updatedAt = updatedAt
      self.syntheticStorageSize = syntheticStorageSize
      self.consumptionPeriodStart = consumptionPeriodStart
      self.consumptionPeriodEnd = consumptionPeriodEnd
      self.quotaResetAt = quotaResetAt
      self.ownerID = ownerID
      self.owner = owner
      self.computeLastActiveAt = computeLastActiveAt
      self.orgID = orgID
      self.maintenanceScheduledFor = maintenanceScheduledFor
      self.hipaaEnabledAt = hipaaEnabledAt
      self.durability = durability
    }

    enum CodingKeys: String, CodingKey {
      case id, name, provisioner, settings, owner, durability
      case dataStorageBytesHour = "data_storage_bytes_hour"
      case dataTransferBytes = "data_transfer_bytes"
      case writtenDataBytes = "written_data_bytes"
      case computeTimeSeconds = "compute_time_seconds"
      case activeTimeSeconds = "active_time_seconds"
      case cpuUsedSec = "cpu_used_sec"
      case platformID = "platform_id"
      case regionID = "region_id"
      case defaultEndpointSettings = "default_endpoint_settings"
      case pgVersion = "pg_version"
      case proxyHost = "proxy_host"
      case branchLogicalSizeLimit = "branch_logical_size_limit"
      case branchLogicalSizeLimitBytes = "branch_logical_size_limit_bytes"
      case storePasswords = "store_passwords"
      case maintenanceStartsAt = "maintenance_starts_at"
      case creationSource = "creation_source"
      case historyRetentionSeconds = "history_retention_seconds"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
      case syntheticStorageSize = "synthetic_storage_size"
      case consumptionPeriodStart = "consumption_period_start"
      case consumptionPeriodEnd = "consumption_period_end"
      case quotaResetAt = "quota_reset_at"
      case ownerID = "owner_id"
      case computeLastActiveAt = "compute_last_active_at"
      case orgID = "org_id"
      case maintenanceScheduledFor = "maintenance_scheduled_for"
      case hipaaEnabledAt = "hipaa_enabled_at"
    }
  }

  /// A project as lists show it.
  public struct ProjectListItem: Codable, Hashable, Sendable {
    public var id: String
    public var platformID: String
    public var regionID: String
    public var name: String
    public var provisioner: String
    public var defaultEndpointSettings: DefaultEndpointSettings?
    public var settings: ProjectSettings?
    public var pgVersion: Int
    public var proxyHost: String
    public var branchLogicalSizeLimit: Int
    public var branchLogicalSizeLimitBytes: Int
    public var storePasswords: Bool
    public var activeTime: Int
    public var cpuUsedSec: Int
    public var maintenanceStartsAt: Date?
    public var creationSource: String
    public var createdAt: Date
    public var updatedAt: Date
    public var syntheticStorageSize: Int?
    public var quotaResetAt: Date?
    public var ownerID: String
    public var computeLastActiveAt: Date?
    public var orgID: String?
    public var orgName: String?
    public var historyRetentionSeconds: Int?
    public var hipaaEnabledAt: Date?
    public var deletedAt: Date?
    public var recoverableUntil: Date?
    public var effectiveProjectPermission: ProjectPermissionLevel?

    public init(
      id: String, platformID: String, regionID: String, name: String, provisioner: String,
      defaultEndpointSettings: DefaultEndpointSettings? = nil, settings: ProjectSettings? = nil,
      pgVersion: Int, proxyHost: String, branchLogicalSizeLimit: Int,
      branchLogicalSizeLimitBytes: Int, storePasswords: Bool, activeTime: Int, cpuUsedSec: Int,
      maintenanceStartsAt: Date? = nil, creationSource: String, createdAt: Date, updatedAt: Date,
      syntheticStorageSize: Int? = nil, quotaResetAt: Date? = nil, ownerID: String,
      computeLastActiveAt: Date? = nil, orgID: String? = nil, orgName: String? = nil,
      historyRetentionSeconds: Int? = nil, hipaaEnabledAt: Date? = nil, deletedAt: Date? = nil,
      recoverableUntil: Date? = nil, effectiveProjectPermission: ProjectPermissionLevel? = nil
    ) {
      self.id = id
      self.platformID = platformID
      self.regionID = regionID
      self.name = name
      self.provisioner = provisioner
      self.defaultEndpointSettings = defaultEndpointSettings
      self.settings = settings
      self.pgVersion = pgVersion
      self.proxyHost = proxyHost
      self.branchLogicalSizeLimit = branchLogicalSizeLimit
      self.branchLogicalSizeLimitBytes = branchLogicalSizeLimitBytes
      self.storePasswords = storePasswords
      self.activeTime = activeTime
      self.cpuUsedSec = cpuUsedSec
      self.maintenanceStartsAt = maintenanceStartsAt
      self.creationSource = creationSource
      self.createdAt = createdAt
      self.updatedAt = updatedAt
      self.syntheticStorageSize = syntheticStorageSize
      self.quotaResetAt = quotaResetAt
      self.ownerID = ownerID
      self.computeLastActiveAt = computeLastActiveAt
      self.orgID = orgID
      self.orgName = orgName
      self.historyRetentionSeconds = historyRetentionSeconds
      self.hipaaEnabledAt = hipaaEnabledAt
      self.deletedAt = deletedAt
      self.recoverableUntil = recoverableUntil
      self.effectiveProjectPermission = effectiveProjectPermission
    }

    enum CodingKeys: String, CodingKey {
      case id, name, provisioner, settings
      case platformID = "platform_id"
      case regionID = "region_id"
      case defaultEndpointSettings = "default_endpoint_settings"
      case pgVersion = "pg_version"
      case proxyHost = "proxy_host"
      case branchLogicalSizeLimit = "branch_logical_size_limit"
      case branchLogicalSizeLimitBytes = "branch_logical_size_limit_bytes"
      case storePasswords = "store_passwords"
      case activeTime = "active_time"
      case cpuUsedSec = "cpu_used_sec"
      case maintenanceStartsAt = "maintenance_starts_at"
      case creationSource = "creation_source"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
      case syntheticStorageSize = "synthetic_storage_size"
      case quotaResetAt = "quota_reset_at"
      case ownerID = "owner_id"
      case computeLastActiveAt = "compute_last_active_at"
      case orgID = "org_id"
      case orgName = "org_name"
      case historyRetentionSeconds = "history_retention_seconds"
      case hipaaEnabledAt = "hipaa_enabled_at"
      case deletedAt = "deleted_at"
      case recoverableUntil = "recoverable_until"
      case effectiveProjectPermission = "effective_project_permission"
    }
  }

  /// One page of projects.
  public struct ProjectListResponse: Codable, Hashable, Sendable {
    public var projects: [ProjectListItem]
    public var unavailableProjectIDs: [String]?
    public var pagination: Pagination?
    public var applications: [String: [String]]
    public var integrations: [String: [String]]

    public init(
      projects: [ProjectListItem], unavailableProjectIDs: [String]? = nil,
      pagination: Pagination? = nil, applications: [String: [String]],
      integrations: [String: [String]]
    ) {
      self.projects = projects
      self.unavailableProjectIDs = unavailableProjectIDs
      self.pagination = pagination
      self.applications = applications
      self.integrations = integrations
    }

    enum CodingKeys: String, CodingKey {
      case projects, pagination, applications, integrations
      case unavailableProjectIDs = "unavailable_project_ids"
    }
  }
}
