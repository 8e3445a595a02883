import Foundation

/// One write request, for the audit log.
public struct AuditRecord: CatalogRecord, Hashable {
  public static let table = "audit_log"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.filter { $0 != .id }.map(\.rawValue)

  /// The catalog's order of writing; 0 before it is written.
  public var id: Int
  public var accountID: AccountID
  public var plan: String
  public var keyID: Int?
  public var requestID: String
  public var method: String
  public var path: String
  public var status: Int
  /// The caller's machine.
  public var address: String
  public var createdAt: Date

  public init(
    id: Int = 0, accountID: AccountID, plan: String, keyID: Int? = nil, requestID: String,
    method: String, path: String, status: Int, address: String = "", createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.keyID = keyID
    self.requestID = requestID
    self.method = method
    self.path = path
    self.status = status
    self.address = address
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, method, path, status, address
    case accountID = "account_id"
    case keyID = "key_id"
    case requestID = "request_id"
    case createdAt = "created_at"
  }
}
