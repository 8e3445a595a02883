import Foundation

extension API {
  /// The body of `POST /api_keys`.
  public struct KeyCreateRequest: Codable, Hashable, Sendable {
    public var keyName: String

    public init(keyName: String) {
      self.keyName = keyName
    }

    enum CodingKeys: String, CodingKey {
      case keyName = "key_name"
    }
  }

  /// A new API key: the one answer that shows it.
  public struct CreatedKey: Codable, Hashable, Sendable {
    public var id: Int
    public var key: String
    public var name: String
    public var createdAt: Date
    public var createdBy: String

    public init(id: Int, key: String, name: String, createdAt: Date, createdBy: String) {
      self.id = id
      self.key = key
      self.name = name
      self.createdAt = createdAt
      self.createdBy = createdBy
    }

    enum CodingKeys: String, CodingKey {
      case id, key, name
      case createdAt = "created_at"
      case createdBy = "created_by"
    }
  }

  /// Who made an API key.
  public struct KeyCreator: Codable, Hashable, Sendable {
    public var id: String
    public var name: String
    public var image: String

    public init(id: String, name: String, image: String) {
      self.id = id
      self.name = name
      self.image = image
    }
  }

  /// An API key as lists show it.
  public struct Key: Codable, Hashable, Sendable {
    public var id: Int
    public var name: String
    public var createdAt: Date
    public var createdBy: KeyCreator
    public var lastUsedAt: Date?
    public var lastUsedFromAddr: String

    public init(
      id: Int, name: String, createdAt: Date, createdBy: KeyCreator, lastUsedAt: Date? = nil,
      lastUsedFromAddr: String
    ) {
      self.id = id
      self.name = name
      self.createdAt = createdAt
      self.createdBy = createdBy
      self.lastUsedAt = lastUsedAt
      self.lastUsedFromAddr = lastUsedFromAddr
    }

    enum CodingKeys: String, CodingKey {
      case id, name
      case createdAt = "created_at"
      case createdBy = "created_by"
      case lastUsedAt = "last_used_at"
      case lastUsedFromAddr = "last_used_from_addr"
    }
  }

  /// An API key that no longer works.
  public struct RevokedKey: Codable, Hashable, Sendable {
    public var id: Int
    public var name: String
    public var createdAt: Date
    public var createdBy: String
    public var lastUsedAt: Date?
    public var lastUsedFromAddr: String
    public var revoked: Bool

    public init(
      id: Int, name: String, createdAt: Date, createdBy: String, lastUsedAt: Date? = nil,
      lastUsedFromAddr: String, revoked: Bool
    ) {
      self.id = id
      self.name = name
      self.createdAt = createdAt
      self.createdBy = createdBy
      self.lastUsedAt = lastUsedAt
      self.lastUsedFromAddr = lastUsedFromAddr
      self.revoked = revoked
    }

    enum CodingKeys: String, CodingKey {
      case id, name, revoked
      case createdAt = "created_at"
      case createdBy = "created_by"
      case lastUsedAt = "last_used_at"
      case lastUsedFromAddr = "last_used_from_addr"
    }
  }

  /// A way in which the caller signs in.
  public struct CurrentUserAuthAccount: Codable, Hashable, Sendable {
    public var email: String
    public var image: String
    public var login: String
    public var name: String
    public var provider: String

    public init(
      email: String, image: String, login: String, name: String, provider: String
    ) {
      self.email = email
      self.image = image
      self.login = login
      self.name = name
      self.provider = provider
    }
  }

  /// The caller's account and its limits.
  public struct CurrentUser: Codable, Hashable, Sendable {
    public var activeSecondsLimit: Int
    /// Optional in the reference; the oldest client cannot do without it.
    public var billingAccount: BillingAccount?
    public var authAccounts: [CurrentUserAuthAccount]
    public var email: String
    public var id: String
    public var image: String
    public var login: String
    public var name: String
    public var lastName: String
    public var projectsLimit: Int
    public var branchesLimit: Int
    public var maxAutoscalingLimit: Double
    public var computeSecondsLimit: Int?
    public var plan: String

    public init(
      activeSecondsLimit: Int, billingAccount: BillingAccount? = nil,
      authAccounts: [CurrentUserAuthAccount], email: String, id: String, image: String,
      login: String, name: String, lastName: String, projectsLimit: Int,
      branchesLimit: Int, maxAutoscalingLimit: Double, computeSecondsLimit: Int? = nil, plan: String
    ) {
      self.activeSecondsLimit = activeSecondsLimit
      self.billingAccount = billingAccount
      self.authAccounts = authAccounts
      self.email = email
      self.id = id
      self.image = image
      self.login = login
      self.name = name
      self.lastName = lastName
      self.projectsLimit = projectsLimit
      self.branchesLimit = branchesLimit
      self.maxAutoscalingLimit = maxAutoscalingLimit
      self.computeSecondsLimit = computeSecondsLimit
      self.plan = plan
    }

    enum CodingKeys: String, CodingKey {
      case email, id, image, login, name, plan
      case activeSecondsLimit = "active_seconds_limit"
      case billingAccount = "billing_account"
      case authAccounts = "auth_accounts"
      case lastName = "last_name"
      case projectsLimit = "projects_limit"
      case branchesLimit = "branches_limit"
      case maxAutoscalingLimit = "max_autoscaling_limit"
      case computeSecondsLimit = "compute_seconds_limit"
    }
  }

  /// How this request was authenticated.
  public struct AuthDetails: Codable, Hashable, Sendable {
    public var accountID: String
    public var authMethod: String
    public var authData: String?

    public init(accountID: String, authMethod: String, authData: String? = nil) {
      self.accountID = accountID
      self.authMethod = authMethod
      self.authData = authData
    }

    enum CodingKeys: String, CodingKey {
      case accountID = "account_id"
      case authMethod = "auth_method"
      case authData = "auth_data"
    }
  }

  /// A place where projects can live; a self-hosted installation has one.
  public struct Region: Codable, Hashable, Sendable {
    public var regionID: String
    public var name: String
    public var isDefault: Bool
    public var geoLat: String
    public var geoLong: String

    public init(
      regionID: String, name: String, isDefault: Bool, geoLat: String, geoLong: String
    ) {
      self.regionID = regionID
      self.name = name
      self.isDefault = isDefault
      self.geoLat = geoLat
      self.geoLong = geoLong
    }

    enum CodingKeys: String, CodingKey {
      case name
      case regionID = "region_id"
      case isDefault = "default"
      case geoLat = "geo_lat"
      case geoLong = "geo_long"
    }
  }

  /// The answer of `GET /regions`.
  public struct RegionsResponse: Codable, Hashable, Sendable {
    public var regions: [Region]

    public init(regions: [Region]) {
      self.regions = regions
    }
  }
}
