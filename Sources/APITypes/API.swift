/// The wire types of `/api/v2`, named as the reference names their fields.
///
/// Every type is a plain value; ``APICoding`` turns it into JSON and back. Times are RFC 3339 in
/// UTC, LSNs are strings as PostgreSQL prints them, ids are strings. The types live in a namespace
/// because names such as `Operation` are Foundation's too.
public enum API {}

extension API {
  /// The body of every error answer.
  public struct ErrorBody: Codable, Hashable, Sendable {
    /// The request's id, as the `X-Request-ID` header of the answer.
    public var requestID: String?
    /// A stable word such as `branch_already_exists`.
    public var code: String
    /// What was attempted, on what, why it failed and what to do next.
    public var message: String

    public init(requestID: String? = nil, code: String, message: String) {
      self.requestID = requestID
      self.code = code
      self.message = message
    }

    enum CodingKeys: String, CodingKey {
      case code, message
      case requestID = "request_id"
    }
  }
}
