import APITypes
import Foundation
import PostgresFormat

/// A cluster lineage: its branches, settings and plan.
public struct ProjectRecord: CatalogRecord, Hashable {
  public static let table = "projects"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: ProjectID
  public var accountID: AccountID
  public var plan: String
  public var name: String
  public var pgVersion: Int
  public var settings: API.ProjectSettings
  public var defaultEndpointSettings: API.DefaultEndpointSettings
  public var historyRetentionSeconds: Int
  public var storePasswords: Bool
  /// `local` or `object-store`.
  public var durability: String
  /// The durability in which commits wait for the object store; the other is `local`.
  public static let objectStoreDurability = "object-store"
  public var defaultBranchID: BranchID?
  public var createdAt: Date
  public var updatedAt: Date
  public var deletedAt: Date?

  public init(
    id: ProjectID, accountID: AccountID, plan: String, name: String, pgVersion: Int,
    settings: API.ProjectSettings, defaultEndpointSettings: API.DefaultEndpointSettings,
    historyRetentionSeconds: Int, storePasswords: Bool, durability: String,
    defaultBranchID: BranchID? = nil, createdAt: Date, updatedAt: Date, deletedAt: Date? = nil
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.name = name
    self.pgVersion = pgVersion
    self.settings = settings
    self.defaultEndpointSettings = defaultEndpointSettings
    self.historyRetentionSeconds = historyRetentionSeconds
    self.storePasswords = storePasswords
    self.durability = durability
    self.defaultBranchID = defaultBranchID
    self.createdAt = createdAt
    self.updatedAt = updatedAt
    self.deletedAt = deletedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, name, settings, durability
    case accountID = "account_id"
    case pgVersion = "pg_version"
    case defaultEndpointSettings = "default_endpoint_settings"
    case historyRetentionSeconds = "history_retention_seconds"
    case storePasswords = "store_passwords"
    case defaultBranchID = "default_branch_id"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
    case deletedAt = "deleted_at"
  }
}

/// The mirror of a line of the history; a line itself never changes.
public struct LineRecord: CatalogRecord, Hashable {
  public static let table = "lines"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: CatalogLineID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var parentID: CatalogLineID?
  public var parentLSN: LSN?
  /// The time of the moment at which the line starts, where that is known.
  public var parentTime: Date?
  /// Whether moments before the line's start count as the branch's own: after a restore.
  public var inheritsWindow = false
  /// Whether the history knows the line: false until a compute first opens it.
  public var isOpened: Bool
  /// A hash of the roles and databases that were last applied; absent before the first time.
  public var configuration: String?
  public var createdAt: Date

  public init(
    id: CatalogLineID, accountID: AccountID, plan: String, projectID: ProjectID,
    parentID: CatalogLineID? = nil, parentLSN: LSN? = nil, isOpened: Bool,
    configuration: String? = nil, createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.parentID = parentID
    self.parentLSN = parentLSN
    self.isOpened = isOpened
    self.configuration = configuration
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, configuration
    case accountID = "account_id"
    case projectID = "project_id"
    case parentID = "parent_id"
    case parentLSN = "parent_lsn"
    case parentTime = "parent_time"
    case inheritsWindow = "inherits_window"
    case isOpened = "is_opened"
    case createdAt = "created_at"
  }
}
