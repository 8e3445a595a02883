import Foundation

extension API {
  /// An account as the operator sees it; a route of ours, as everything in this file.
  public struct Account: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    public var email: String
    public var plan: String
    public var isAdmin: Bool
    public var createdAt: Date

    public init(
      id: String, name: String, email: String, plan: String, isAdmin: Bool, createdAt: Date
    ) {
      self.id = id
      self.name = name
      self.email = email
      self.plan = plan
      self.isAdmin = isAdmin
      self.createdAt = createdAt
    }

    enum CodingKeys: String, CodingKey {
      case id, name, email, plan
      case isAdmin = "admin"
      case createdAt = "created_at"
    }
  }

  public struct NewAccount: Codable, Hashable, Sendable {
    public var name: String
    public var email: String
    /// `free` where absent.
    public var plan: String?

    public init(name: String, email: String, plan: String? = nil) {
      self.name = name
      self.email = email
      self.plan = plan
    }
  }

  /// The body of `POST /accounts`.
  public struct AccountCreateRequest: Codable, Hashable, Sendable {
    public var account: NewAccount
    public init(account: NewAccount) { self.account = account }
  }

  /// The answer of `POST /accounts`: the one that shows the account's first key.
  public struct CreatedAccount: Codable, Hashable, Sendable {
    public var account: Account
    public var apiKey: CreatedKey

    public init(account: Account, apiKey: CreatedKey) {
      self.account = account
      self.apiKey = apiKey
    }

    enum CodingKeys: String, CodingKey {
      case account
      case apiKey = "api_key"
    }
  }

  public struct AccountUpdate: Codable, Hashable, Sendable {
    public var name: String?
    public var plan: String?

    public init(name: String? = nil, plan: String? = nil) {
      self.name = name
      self.plan = plan
    }
  }

  /// The body of `PATCH /accounts/{account_id}`.
  public struct AccountUpdateRequest: Codable, Hashable, Sendable {
    public var account: AccountUpdate
    public init(account: AccountUpdate) { self.account = account }
  }

  public struct AccountResponse: Codable, Hashable, Sendable {
    public var account: Account
    public init(account: Account) { self.account = account }
  }

  public struct AccountListResponse: Codable, Hashable, Sendable {
    public var accounts: [Account]
    public var pagination: Pagination?

    public init(accounts: [Account], pagination: Pagination? = nil) {
      self.accounts = accounts
      self.pagination = pagination
    }
  }

  /// What accounts on it may use, and what that costs. Limits that are absent are none.
  public struct Plan: Codable, Hashable, Sendable {
    public var name: String
    public var projectsLimit: Int
    public var branchesLimit: Int
    public var historyRetentionSecondsMaximum: Int
    public var computeUnitsMaximum: Double
    public var computeSecondsLimit: Int?
    public var transferBytesLimit: Int?
    public var writtenBytesLimit: Int?
    /// Of one unit of each metric: see `GET /projects/{project_id}/billing_estimate`.
    public var prices: [String: Double]

    public init(
      name: String, projectsLimit: Int, branchesLimit: Int, historyRetentionSecondsMaximum: Int,
      computeUnitsMaximum: Double, computeSecondsLimit: Int? = nil, transferBytesLimit: Int? = nil,
      writtenBytesLimit: Int? = nil, prices: [String: Double] = [:]
    ) {
      self.name = name
      self.projectsLimit = projectsLimit
      self.branchesLimit = branchesLimit
      self.historyRetentionSecondsMaximum = historyRetentionSecondsMaximum
      self.computeUnitsMaximum = computeUnitsMaximum
      self.computeSecondsLimit = computeSecondsLimit
      self.transferBytesLimit = transferBytesLimit
      self.writtenBytesLimit = writtenBytesLimit
      self.prices = prices
    }

    enum CodingKeys: String, CodingKey {
      case name, prices
      case projectsLimit = "projects_limit"
      case branchesLimit = "branches_limit"
      case historyRetentionSecondsMaximum = "history_retention_seconds_maximum"
      case computeUnitsMaximum = "compute_units_maximum"
      case computeSecondsLimit = "compute_seconds_limit"
      case transferBytesLimit = "transfer_bytes_limit"
      case writtenBytesLimit = "written_bytes_limit"
    }
  }

  /// The body of `PUT /plans/{plan_name}`: makes the plan, or replaces it.
  public struct PlanRequest: Codable, Hashable, Sendable {
    public var plan: PlanLimits
    public init(plan: PlanLimits) { self.plan = plan }
  }

  /// A plan without its name.
  public struct PlanLimits: Codable, Hashable, Sendable {
    public var projectsLimit: Int
    public var branchesLimit: Int
    public var historyRetentionSecondsMaximum: Int
    public var computeUnitsMaximum: Double
    public var computeSecondsLimit: Int?
    public var transferBytesLimit: Int?
    public var writtenBytesLimit: Int?
    public var prices: [String: Double]?

    public init(
      projectsLimit: Int, branchesLimit: Int, historyRetentionSecondsMaximum: Int,
      computeUnitsMaximum: Double, computeSecondsLimit: Int? = nil, transferBytesLimit: Int? = nil,
      writtenBytesLimit: Int? = nil, prices: [String: Double]? = nil
    ) {
      self.projectsLimit = projectsLimit
      self.branchesLimit = branchesLimit
      self.historyRetentionSecondsMaximum = historyRetentionSecondsMaximum
      self.computeUnitsMaximum = computeUnitsMaximum
      self.computeSecondsLimit = computeSecondsLimit
      self.transferBytesLimit = transferBytesLimit
      self.writtenBytesLimit = writtenBytesLimit
      self.prices = prices
    }

    enum CodingKeys: String, CodingKey {
      case prices
      case projectsLimit = "projects_limit"
      case branchesLimit = "branches_limit"
      case historyRetentionSecondsMaximum = "history_retention_seconds_maximum"
      case computeUnitsMaximum = "compute_units_maximum"
      case computeSecondsLimit = "compute_seconds_limit"
      case transferBytesLimit = "transfer_bytes_limit"
      case writtenBytesLimit = "written_bytes_limit"
    }
  }

  public struct PlanResponse: Codable, Hashable, Sendable {
    public var plan: Plan
    public init(plan: Plan) { self.plan = plan }
  }

  public struct PlanListResponse: Codable, Hashable, Sendable {
    public var plans: [Plan]
    public init(plans: [Plan]) { self.plans = plans }
  }

  /// A write request that was answered.
  public struct AuditEntry: Codable, Hashable, Sendable {
    public var id: Int
    public var accountID: String
    public var keyID: Int?
    public var requestID: String
    public var method: String
    public var path: String
    public var status: Int
    public var address: String
    public var createdAt: Date

    public init(
      id: Int, accountID: String, keyID: Int? = nil, requestID: String, method: String,
      path: String, status: Int, address: String, createdAt: Date
    ) {
      self.id = id
      self.accountID = accountID
      self.keyID = keyID
      self.requestID = requestID
      self.method = method
      self.path = path
      self.status = status
      self.address = address
      self.createdAt = createdAt
    }

    enum CodingKeys: String, CodingKey {
      case id, method, path, status, address
      case accountID = "account_id"
      case keyID = "key_id"
      case requestID = "request_id"
      case createdAt = "created_at"
    }
  }

  public struct AuditLogResponse: Codable, Hashable, Sendable {
    public var entries: [AuditEntry]
    public var pagination: Pagination?

    public init(entries: [AuditEntry], pagination: Pagination? = nil) {
      self.entries = entries
      self.pagination = pagination
    }
  }

  /// A project shared with whoever has this address.
  public struct Permission: Codable, Hashable, Sendable {
    public var id: String
    public var grantedToEmail: String
    public var grantedAt: Date
    public var revokedAt: Date?

    public init(id: String, grantedToEmail: String, grantedAt: Date, revokedAt: Date? = nil) {
      self.id = id
      self.grantedToEmail = grantedToEmail
      self.grantedAt = grantedAt
      self.revokedAt = revokedAt
    }

    enum CodingKeys: String, CodingKey {
      case id
      case grantedToEmail = "granted_to_email"
      case grantedAt = "granted_at"
      case revokedAt = "revoked_at"
    }
  }

  public struct PermissionListResponse: Codable, Hashable, Sendable {
    public var projectPermissions: [Permission]

    public init(projectPermissions: [Permission]) { self.projectPermissions = projectPermissions }

    enum CodingKeys: String, CodingKey { case projectPermissions = "project_permissions" }
  }

  /// The body of `POST /projects/{project_id}/permissions`.
  public struct PermissionGrantRequest: Codable, Hashable, Sendable {
    public var email: String
    public init(email: String) { self.email = email }
  }

  /// The body of `DELETE /projects/{project_id}/permissions`, as the oldest client sends it: one of
  /// the two.
  public struct PermissionRevokeRequest: Codable, Hashable, Sendable {
    public var permissionID: String?
    public var email: String?

    public init(permissionID: String? = nil, email: String? = nil) {
      self.permissionID = permissionID
      self.email = email
    }

    enum CodingKeys: String, CodingKey {
      case email
      case permissionID = "permission_id"
    }
  }
}
