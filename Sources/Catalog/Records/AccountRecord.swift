import Foundation

/// What an account may use.
public struct PlanRecord: CatalogRecord, Hashable {
  public static let table = "plans"
  public static let key = ["name"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var name: String
  public var projectsLimit: Int
  /// Branches of one project.
  public var branchesLimit: Int
  public var retentionSecondsMaximum: Int
  public var computeUnitsMaximum: Double
  public var computeSecondsLimit: Int?
  public var transferBytesLimit: Int?
  public var writtenBytesLimit: Int?
  /// Of one unit of each metric, by its name; metrics without one cost nothing.
  public var prices: [String: Double]
  public var createdAt: Date

  public init(
    name: String, projectsLimit: Int, branchesLimit: Int, retentionSecondsMaximum: Int,
    computeUnitsMaximum: Double, computeSecondsLimit: Int? = nil, transferBytesLimit: Int? = nil,
    writtenBytesLimit: Int? = nil, prices: [String: Double] = [:], createdAt: Date
  ) {
    self.name = name
    self.projectsLimit = projectsLimit
    self.branchesLimit = branchesLimit
    self.retentionSecondsMaximum = retentionSecondsMaximum
    self.computeUnitsMaximum = computeUnitsMaximum
    self.computeSecondsLimit = computeSecondsLimit
    self.transferBytesLimit = transferBytesLimit
    self.writtenBytesLimit = writtenBytesLimit
    self.prices = prices
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case name, prices
    case projectsLimit = "projects_limit"
    case branchesLimit = "branches_limit"
    case retentionSecondsMaximum = "retention_seconds_maximum"
    case computeUnitsMaximum = "compute_units_maximum"
    case computeSecondsLimit = "compute_seconds_limit"
    case transferBytesLimit = "transfer_bytes_limit"
    case writtenBytesLimit = "written_bytes_limit"
    case createdAt = "created_at"
  }
}

/// Who pays and sees.
public struct AccountRecord: CatalogRecord, Hashable {
  public static let table = "accounts"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// A UUID.
  public var id: AccountID
  public var plan: String
  public var name: String
  public var email: String
  public var isAdmin: Bool
  public var createdAt: Date

  public init(
    id: AccountID, plan: String, name: String, email: String, isAdmin: Bool, createdAt: Date
  ) {
    self.id = id
    self.plan = plan
    self.name = name
    self.email = email
    self.isAdmin = isAdmin
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, name, email
    case isAdmin = "is_admin"
    case createdAt = "created_at"
  }
}

/// An API key; the key itself is not kept.
public struct APIKeyRecord: CatalogRecord, Hashable {
  public static let table = "api_keys"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: Int
  public var accountID: AccountID
  public var plan: String
  public var name: String
  /// SHA-256 of the key's text.
  public var hash: SealedBytes
  public var createdAt: Date
  public var lastUsedAt: Date?
  public var lastUsedFrom: String
  public var revokedAt: Date?

  public init(
    id: Int, accountID: AccountID, plan: String, name: String, hash: SealedBytes, createdAt: Date,
    lastUsedAt: Date? = nil, lastUsedFrom: String, revokedAt: Date? = nil
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.name = name
    self.hash = hash
    self.createdAt = createdAt
    self.lastUsedAt = lastUsedAt
    self.lastUsedFrom = lastUsedFrom
    self.revokedAt = revokedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, name, hash
    case accountID = "account_id"
    case createdAt = "created_at"
    case lastUsedAt = "last_used_at"
    case lastUsedFrom = "last_used_from"
    case revokedAt = "revoked_at"
  }
}
