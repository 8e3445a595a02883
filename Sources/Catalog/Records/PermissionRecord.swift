import Foundation

/// A project shared with whoever has this address.
public struct PermissionRecord: CatalogRecord, Hashable {
  public static let table = "project_permissions"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// A UUID.
  public var id: String
  /// The owner's.
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var email: String
  public var createdAt: Date
  public var revokedAt: Date?

  public init(
    id: String, accountID: AccountID, plan: String, projectID: ProjectID, email: String,
    createdAt: Date, revokedAt: Date? = nil
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.email = email
    self.createdAt = createdAt
    self.revokedAt = revokedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, email
    case accountID = "account_id"
    case projectID = "project_id"
    case createdAt = "created_at"
    case revokedAt = "revoked_at"
  }
}

/// The last change of a project's retention window, as long as it matters.
///
/// The project's own `history_retention_seconds` is what was asked for last. This row says what was
/// promised before, until when that is still kept, and how far back a window that grew can reach.
public struct RetentionChangeRecord: CatalogRecord, Hashable {
  public static let table = "retention_changes"
  public static let key = ["project_id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var projectID: ProjectID
  public var accountID: AccountID
  public var plan: String
  /// The window in force before `effectiveAt`.
  public var previousSeconds: Int
  public var requestedAt: Date
  public var effectiveAt: Date
  /// Nothing before it can be promised any more.
  public var floor: Date?
  public var createdAt: Date

  public init(
    projectID: ProjectID, accountID: AccountID, plan: String, previousSeconds: Int,
    requestedAt: Date, effectiveAt: Date, floor: Date? = nil, createdAt: Date
  ) {
    self.projectID = projectID
    self.accountID = accountID
    self.plan = plan
    self.previousSeconds = previousSeconds
    self.requestedAt = requestedAt
    self.effectiveAt = effectiveAt
    self.floor = floor
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case plan, floor
    case projectID = "project_id"
    case accountID = "account_id"
    case previousSeconds = "previous_seconds"
    case requestedAt = "requested_at"
    case effectiveAt = "effective_at"
    case createdAt = "created_at"
  }
}
