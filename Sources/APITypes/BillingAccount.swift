import Foundation

extension API {
  /// Where a payment comes from; a self-hosted installation takes none.
  public struct PaymentSource: Codable, Hashable, Sendable {
    public var type: String
    public init(type: String) { self.type = type }
  }

  /// Who pays, in the reference's words. Exzo keeps no addresses and takes no payments: the fields
  /// that would hold them are empty.
  public struct BillingAccount: Codable, Hashable, Sendable {
    public var state = "active"
    public var paymentSource = PaymentSource(type: "")
    /// Plans have names of their own here, which the reference's words do not know.
    public var subscriptionType = "UNKNOWN"
    public var paymentMethod = "none"
    /// The start of the billing period.
    public var quotaResetAtLast: Date
    public var name: String
    public var email: String
    public var addressCity = ""
    public var addressCountry = ""
    public var addressLine1 = ""
    public var addressLine2 = ""
    public var addressPostalCode = ""
    public var addressState = ""

    public init(quotaResetAtLast: Date, name: String, email: String) {
      self.quotaResetAtLast = quotaResetAtLast
      self.name = name
      self.email = email
    }

    enum CodingKeys: String, CodingKey {
      case state, name, email
      case paymentSource = "payment_source"
      case subscriptionType = "subscription_type"
      case paymentMethod = "payment_method"
      case quotaResetAtLast = "quota_reset_at_last"
      case addressCity = "address_city"
      case addressCountry = "address_country"
      case addressLine1 = "address_line1"
      case addressLine2 = "address_line2"
      case addressPostalCode = "address_postal_code"
      case addressState = "address_state"
    }
  }
}
