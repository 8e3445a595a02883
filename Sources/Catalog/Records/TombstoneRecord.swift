import Foundation

/// What a role or a database was that is gone, so that deleting it once more is answered as the first
/// time. The newest of its name on the branch.
public struct TombstoneRecord: CatalogRecord, Hashable {
  public static let table = "tombstones"
  public static let key = ["branch_id", "kind", "name"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public enum Kind: String, Codable, Sendable {
    case role, database
  }

  public var branchID: BranchID
  public var kind: Kind
  public var name: String
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  /// Of a database only, as its owner.
  public var databaseID: Int?
  public var ownerName: String?
  public var isProtected: Bool
  public var createdAt: Date
  public var updatedAt: Date

  init(_ role: RoleRecord) {
    branchID = role.branchID
    kind = .role
    name = role.name
    accountID = role.accountID
    plan = role.plan
    projectID = role.projectID
    isProtected = role.isProtected
    createdAt = role.createdAt
    updatedAt = role.updatedAt
  }

  init(_ database: DatabaseRecord) {
    branchID = database.branchID
    kind = .database
    name = database.name
    accountID = database.accountID
    plan = database.plan
    projectID = database.projectID
    databaseID = database.id
    ownerName = database.ownerName
    isProtected = false
    createdAt = database.createdAt
    updatedAt = database.updatedAt
  }

  /// The role as it was, without its password.
  var role: RoleRecord {
    RoleRecord(
      branchID: branchID, name: name, accountID: accountID, plan: plan, projectID: projectID,
      canLogin: false, isProtected: isProtected, isDropped: true, createdAt: createdAt,
      updatedAt: updatedAt)
  }

  /// The database as it was; `nil` for the tombstone of a role.
  var database: DatabaseRecord? {
    guard let databaseID, let ownerName else { return nil }
    return DatabaseRecord(
      id: databaseID, branchID: branchID, accountID: accountID, plan: plan, projectID: projectID,
      name: name, ownerName: ownerName, isDropped: true, createdAt: createdAt, updatedAt: updatedAt)
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case kind, name, plan
    case branchID = "branch_id"
    case accountID = "account_id"
    case projectID = "project_id"
    case databaseID = "database_id"
    case ownerName = "owner_name"
    case isProtected = "is_protected"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
  }
}
