import Foundation

/// A question to the operator, and what was written about it.
public struct SupportTicketRecord: CatalogRecord, Hashable {
  public static let table = "support_tickets"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// One text of a ticket, oldest first.
  public struct Message: Codable, Hashable, Sendable {
    public var author: String
    public var isOperator: Bool
    public var text: String
    public var createdAt: Date

    public init(author: String, isOperator: Bool, text: String, createdAt: Date) {
      self.author = author
      self.isOperator = isOperator
      self.text = text
      self.createdAt = createdAt
    }

    enum CodingKeys: String, CodingKey {
      case author, text
      case isOperator = "is_operator"
      case createdAt = "created_at"
    }
  }

  /// A UUID.
  public var id: String
  public var accountID: AccountID
  public var plan: String
  public var subject: String
  /// `open`, `answered` or `closed`.
  public var state: String
  public var messages: [Message]
  /// The support bundle that was sent with it: JSON.
  public var bundle: String?
  public var createdAt: Date
  public var updatedAt: Date

  public init(
    id: String, accountID: AccountID, plan: String, subject: String, state: String,
    messages: [Message], bundle: String?, createdAt: Date, updatedAt: Date
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
