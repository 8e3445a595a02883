import APITypes
import Foundation

/// A question to the operator, and what was written about it.
public struct SupportTicketRecord: CatalogRecord, Hashable {
  public static let table = "support_tickets"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// A UUID.
  public var id: String
  public var accountID: AccountID
  public var plan: String
  public var subject: String
  /// `open`, `answered` or `closed`.
  public var state: String
  /// Oldest first.
  public var messages: [API.SupportMessage]
  /// The support bundle that was sent with it: JSON.
  public var bundle: String?
  public var createdAt: Date
  public var updatedAt: Date

  public init(
    id: String, accountID: AccountID, plan: String, subject: String, state: String,
    messages: [API.SupportMessage], bundle: String?, createdAt: Date, updatedAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.subject = subject
    self.state = state
    self.messages = messages
    self.bundle = bundle
    self.createdAt = createdAt
    self.updatedAt = updatedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, subject, state, messages, bundle
    case accountID = "account_id"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
  }
}
