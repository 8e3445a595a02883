import Foundation

extension API {
  /// Whether a branch can be used yet.
  public enum BranchState: String, WireEnumeration {
    case `init`
    case ready
    case archived
  }

  /// Who deleted a branch.
  public enum BranchDeletionMethod: String, WireEnumeration {
    case user
    case ttl
  }

  /// How long a deleted branch can still be recovered.
  public struct BranchRecovery: Codable, Hashable, Sendable {
    public var deletedAt: Date
    public var recoverableUntil: Date
    public var deletionMethod: BranchDeletionMethod

    public init(
      deletedAt: Date, recoverableUntil: Date, deletionMethod: BranchDeletionMethod
    ) {
      self.deletedAt = deletedAt
      self.recoverableUntil = recoverableUntil
      self.deletionMethod = deletionMethod
    }

    enum CodingKeys: String, CodingKey {
      case deletedAt = "deleted_at"
      case recoverableUntil = "recoverable_until"
      case deletionMethod = "deletion_method"
    }
  }

  /// An action that a branch's state forbids, and why.
  public struct BranchRestrictedAction: Codable, Hashable, Sendable {
    public var name: String
    public var reason: String

    public init(name: String, reason: String) {
      self.name = name
      self.reason = reason
    }
  }

  /// Who made a branch.
  public struct BranchCreator: Codable, Hashable, Sendable {
    public var name: String?
    public var image: String?

    public init(name: String? = nil, image: String? = nil) {
      self.name = name
      self.image = image
    }
  }

  /// The two ends of what can be restored. `latestTimestamp` is now, but for an attached server of
  /// which nothing comes in.
  public struct RestoreWindow: Codable, Hashable, Sendable {
    public var earliestLSN: String
    public var earliestTimestamp: Date
    public var latestLSN: String
    public var latestTimestamp: Date

    public init(
      earliestLSN: String, earliestTimestamp: Date, latestLSN: String, latestTimestamp: Date
    ) {
      self.earliestLSN = earliestLSN
      self.earliestTimestamp = earliestTimestamp
      self.latestLSN = latestLSN
      self.latestTimestamp = latestTimestamp
    }

    enum CodingKeys: String, CodingKey {
      case earliestLSN = "earliest_lsn"
      case earliestTimestamp = "earliest_timestamp"
      case latestLSN = "latest_lsn"
      case latestTimestamp = "latest_timestamp"
    }
  }

  /// A name that points to a line.
  public struct Branch: Codable, Hashable, Sendable {
    public var id: String
    public var projectID: String
    public var parentID: String?
    public var parentLSN: String?
    public var parentTimestamp: Date?
    public var name: String
    public var currentState: BranchState
    public var pendingState: BranchState?
    public var stateChangedAt: Date
    public var logicalSize: Int?
    public var creationSource: String
    public var isPrimary: Bool?
    public var isDefault: Bool
    public var isProtected: Bool
    public var cpuUsedSec: Int
    public var computeTimeSeconds: Int
    public var activeTimeSeconds: Int
    public var writtenDataBytes: Int
    public var dataTransferBytes: Int
    public var createdAt: Date
    public var updatedAt: Date
    public var ttlIntervalSeconds: Int?
    public var expiresAt: Date?
    public var lastResetAt: Date?
    public var createdBy: BranchCreator?
    public var initSource: String?
    public var restoreStatus: String?
    public var restoredFrom: String?
    public var restoredAs: String?
    public var restrictedActions: [BranchRestrictedAction]?
    public var recovery: BranchRecovery?
    /// Told by `GET …/branches/{branch_id}` only.
    public var restoreWindow: RestoreWindow?

    public init(
      id: String, projectID: String, parentID: String? = nil, parentLSN: String? = nil,
      parentTimestamp: Date? = nil, name: String, currentState: BranchState,
      pendingState: BranchState? = nil, stateChangedAt: Date, logicalSize: Int? = nil,
      creationSource: String, isPrimary: Bool? = nil, isDefault: Bool, isProtected: Bool,
      cpuUsedSec: Int, computeTimeSeconds: Int, activeTimeSeconds: Int, writtenDataBytes: Int,
      dataTransferBytes: Int, createdAt: Date, updatedAt: Date, ttlIntervalSeconds: Int? = nil,
      expiresAt: Date? = nil, lastResetAt: Date? = nil, createdBy: BranchCreator? = nil,
      initSource: String? = nil, restoreStatus: String? = nil, restoredFrom: String? = nil,
      restoredAs: String? = nil, restrictedActions: [BranchRestrictedAction]? = nil,
      recovery: BranchRecovery? = nil, restoreWindow: RestoreWindow? = nil
    ) {
      self.id = id
      self.projectID = projectID
      self.parentID = parentID
      self.parentLSN = parentLSN
      self.parentTimestamp = parentTimestamp
      self.name = name
      self.currentState = currentState
      self.pendingState = pendingState
      self.stateChangedAt = stateChangedAt
      self.logicalSize = logicalSize
      self.creationSource = creationSource
      self.isPrimary = isPrimary
      self.isDefault = isDefault
      self.isProtected = isProtected
      self.cpuUsedSec = cpuUsedSec
      self.computeTimeSeconds = computeTimeSeconds
      self.activeTimeSeconds = activeTimeSeconds
      self.writtenDataBytes = writtenDataBytes
      self.dataTransferBytes = dataTransferBytes
      self.createdAt = createdAt
      self.updatedAt = updatedAt
      self.ttlIntervalSeconds = ttlIntervalSeconds
      self.expiresAt = expiresAt
      self.lastResetAt = lastResetAt
      self.createdBy = createdBy
      self.initSource = initSource
      self.restoreStatus = restoreStatus
      self.restoredFrom = restoredFrom
      self.restoredAs = restoredAs
      self.restrictedActions = restrictedActions
      self.recovery = recovery
      self.restoreWindow = restoreWindow
    }

    enum CodingKeys: String, CodingKey {
      case id, name, recovery
      case projectID = "project_id"
      case parentID = "parent_id"
      case parentLSN = "parent_lsn"
      case parentTimestamp = "parent_timestamp"
      case currentState = "current_state"
      case pendingState = "pending_state"
      case stateChangedAt = "state_changed_at"
      case logicalSize = "logical_size"
      case creationSource = "creation_source"
      case isPrimary = "primary"
      case isDefault = "default"
      case isProtected = "protected"
      case cpuUsedSec = "cpu_used_sec"
      case computeTimeSeconds = "compute_time_seconds"
      case activeTimeSeconds = "active_time_seconds"
      case writtenDataBytes = "written_data_bytes"
      case dataTransferBytes = "data_transfer_bytes"
      case createdAt = "created_at"
      case updatedAt = "updated_at"
      case ttlIntervalSeconds = "ttl_interval_seconds"
      case expiresAt = "expires_at"
      case lastResetAt = "last_reset_at"
      case createdBy = "created_by"
      case initSource = "init_source"
      case restoreStatus = "restore_status"
      case restoredFrom = "restored_from"
      case restoredAs = "restored_as"
      case restrictedActions = "restricted_actions"
      case restoreWindow = "restore_window"
    }
  }

  /// What an annotation hangs on.
  public struct AnnotationObject: Codable, Hashable, Sendable {
    public var type: String
    public var id: String

    public init(type: String, id: String) {
      self.type = type
      self.id = id
    }
  }

  /// A caller's own words about an object; the value is never absent.
  public struct Annotation: Codable, Hashable, Sendable {
    public var object: AnnotationObject
    public var value: [String: String]
    public var createdAt: Date?
    public var updatedAt: Date?

    public init(
      object: AnnotationObject, value: [String: String], createdAt: Date? = nil,
      updatedAt: Date? = nil
    ) {
      self.object = object
      self.value = value
      self.createdAt = createdAt
      self.updatedAt = updatedAt
    }

    enum CodingKeys: String, CodingKey {
      case object, value
      case createdAt = "created_at"
      case updatedAt = "updated_at"
    }
  }
}
