import Foundation
import PostgresFormat

/// A resolved LSN that collection must not take away before `expiresAt`.
public struct LeaseRecord: CatalogRecord, Hashable {
  public static let table = "leases"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: String
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var lineID: CatalogLineID
  public var lsn: LSN
  public var expiresAt: Date
  public var createdAt: Date

  public init(
    id: String, accountID: AccountID, plan: String, projectID: ProjectID, lineID: CatalogLineID,
    lsn: LSN, expiresAt: Date, createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.lineID = lineID
    self.lsn = lsn
    self.expiresAt = expiresAt
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, lsn
    case accountID = "account_id"
    case projectID = "project_id"
    case lineID = "line_id"
    case expiresAt = "expires_at"
    case createdAt = "created_at"
  }
}

/// A request that may be repeated, and its sealed answer once there is one.
public struct IdempotencyRecord: CatalogRecord, Hashable {
  public static let table = "idempotency_keys"
  public static let key = ["account_id", "method", "path", "key"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var accountID: AccountID
  public var method: String
  public var path: String
  public var key: String
  public var bodyHash: SealedBytes
  /// 0 once the request has taken effect, then what it was answered.
  public var status: Int?
  public var sealedAnswer: SealedBytes?
  public var createdAt: Date

  public init(
    accountID: AccountID, method: String, path: String, key: String, bodyHash: SealedBytes,
    status: Int? = nil, sealedAnswer: SealedBytes? = nil, createdAt: Date
  ) {
    self.accountID = accountID
    self.method = method
    self.path = path
    self.key = key
    self.bodyHash = bodyHash
    self.status = status
    self.sealedAnswer = sealedAnswer
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case method, path, key, status
    case accountID = "account_id"
    case bodyHash = "body_hash"
    case sealedAnswer = "sealed_answer"
    case createdAt = "created_at"
  }
}
