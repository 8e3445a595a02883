import Foundation
import PostgresFormat

/// A name that points to a line. Deleted ones stay as tombstones for recovery.
public struct BranchRecord: CatalogRecord, Hashable {
  public static let table = "branches"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: BranchID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var lineID: CatalogLineID
  public var parentID: BranchID?
  public var parentLSN: LSN?
  public var parentTimestamp: Date?
  public var name: String
  /// `init` or `ready`.
  public var state: String
  public var stateChangedAt: Date
  public var isProtected: Bool
  public var initSource: String
  public var annotation: [String: String]
  public var annotatedAt: Date?
  public var expiresAt: Date?
  public var createdAt: Date
  public var updatedAt: Date
  public var deletedAt: Date?
  /// `user` or `ttl`.
  public var deletionMethod: String?
  /// `restored` or `finalized`, for branches made from a snapshot.
  public var restoreStatus: String?
  /// The snapshot that the branch was made from.
  public var restoredFrom: SnapshotID?
  /// The branch that it replaces, or shall replace when the restore is finalized.
  public var restoredAs: BranchID?
  public var lastResetAt: Date?
  /// The branch whose former state this is: it takes over the children when this one is deleted.
  public var preservedFrom: BranchID?
  /// Deleted for good.
  public var isPurged = false

  public init(
    id: BranchID, accountID: AccountID, plan: String, projectID: ProjectID, lineID: CatalogLineID,
    parentID: BranchID? = nil, parentLSN: LSN? = nil, parentTimestamp: Date? = nil, name: String,
    state: String, stateChangedAt: Date, isProtected: Bool, initSource: String,
    annotation: [String: String], annotatedAt: Date? = nil, expiresAt: Date? = nil, createdAt: Date,
    updatedAt: Date, deletedAt: Date? = nil, deletionMethod: String? = nil
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.lineID = lineID
    self.parentID = parentID
    self.parentLSN = parentLSN
    self.parentTimestamp = parentTimestamp
    self.name = name
    self.state = state
    self.stateChangedAt = stateChangedAt
    self.isProtected = isProtected
    self.initSource = initSource
    self.annotation = annotation
    self.annotatedAt = annotatedAt
    self.expiresAt = expiresAt
    self.createdAt = createdAt
    self.updatedAt = updatedAt
    self.deletedAt = deletedAt
    self.deletionMethod = deletionMethod
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, name, state, annotation
    case accountID = "account_id"
    case projectID = "project_id"
    case lineID = "line_id"
    case parentID = "parent_id"
    case parentLSN = "parent_lsn"
    case parentTimestamp = "parent_timestamp"
    case stateChangedAt = "state_changed_at"
    case isProtected = "is_protected"
    case initSource = "init_source"
    case annotatedAt = "annotated_at"
    case expiresAt = "expires_at"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
    case deletedAt = "deleted_at"
    case deletionMethod = "deletion_method"
    case restoreStatus = "restore_status"
    case restoredFrom = "restored_from"
    case restoredAs = "restored_as"
    case lastResetAt = "last_reset_at"
    case preservedFrom = "preserved_from"
    case isPurged = "is_purged"
  }
}

/// A role of a branch.
public struct RoleRecord: CatalogRecord, Hashable {
  public static let table = "roles"
  public static let key = ["branch_id", "name"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var branchID: BranchID
  public var name: String
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var canLogin: Bool
  public var isProtected: Bool
  /// Absent where the project does not store passwords.
  public var sealedPassword: SealedBytes?
  /// PostgreSQL's `SCRAM-SHA-256$…`; absent for roles that cannot log in.
  public var scramVerifier: String?
  /// Deleted by the user, perhaps still there in the branch's computes.
  public var isDropped: Bool
  public var createdAt: Date
  public var updatedAt: Date

  public init(
    branchID: BranchID, name: String, accountID: AccountID, plan: String, projectID: ProjectID,
    canLogin: Bool, isProtected: Bool, sealedPassword: SealedBytes? = nil,
    scramVerifier: String? = nil, isDropped: Bool, createdAt: Date, updatedAt: Date
  ) {
    self.branchID = branchID
    self.name = name
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.canLogin = canLogin
    self.isProtected = isProtected
    self.sealedPassword = sealedPassword
    self.scramVerifier = scramVerifier
    self.isDropped = isDropped
    self.createdAt = createdAt
    self.updatedAt = updatedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case name, plan
    case branchID = "branch_id"
    case accountID = "account_id"
    case projectID = "project_id"
    case canLogin = "can_login"
    case isProtected = "is_protected"
    case sealedPassword = "sealed_password"
    case scramVerifier = "scram_verifier"
    case isDropped = "is_dropped"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
  }
}

/// A database of a branch.
public struct DatabaseRecord: CatalogRecord, Hashable {
  public static let table = "databases"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: Int
  public var branchID: BranchID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var name: String
  public var ownerName: String
  /// The name under which computes of the branch may still have it.
  public var renamedFrom: String?
  /// Deleted by the user, perhaps still there in the branch's computes.
  public var isDropped: Bool
  public var createdAt: Date
  public var updatedAt: Date

  public init(
    id: Int, branchID: BranchID, accountID: AccountID, plan: String, projectID: ProjectID,
    name: String, ownerName: String, isDropped: Bool, createdAt: Date, updatedAt: Date
  ) {
    self.id = id
    self.branchID = branchID
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.name = name
    self.ownerName = ownerName
    self.isDropped = isDropped
    self.createdAt = createdAt
    self.updatedAt = updatedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, name
    case branchID = "branch_id"
    case accountID = "account_id"
    case projectID = "project_id"
    case ownerName = "owner_name"
    case renamedFrom = "renamed_from"
    case isDropped = "is_dropped"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
  }
}
