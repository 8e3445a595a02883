import Foundation

/// Someone who is signed in to the Console. What the browser holds is not kept, only its hash.
public struct ConsoleSessionRecord: CatalogRecord, Hashable {
  public static let table = "console_sessions"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// SHA-256 of the cookie's text, in hexadecimal.
  public var id: String
  public var accountID: AccountID
  public var plan: String
  /// The API key that was signed in with; revoking it ends the session.
  public var keyID: Int
  /// What every write request of the session's pages carries.
  public var formToken: String
  public var address: String
  public var createdAt: Date
  public var lastUsedAt: Date
  public var expiresAt: Date

  public init(
    id: String, accountID: AccountID, plan: String, keyID: Int, formToken: String, address: String,
    createdAt: Date, lastUsedAt: Date, expiresAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.keyID = keyID
    self.formToken = formToken
    self.address = address
    self.createdAt = createdAt
    self.lastUsedAt = lastUsedAt
    self.expiresAt = expiresAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, address
    case accountID = "account_id"
    case keyID = "key_id"
    case formToken = "form_token"
    case createdAt = "created_at"
    case lastUsedAt = "last_used_at"
    case expiresAt = "expires_at"
  }
}
