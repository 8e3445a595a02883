/// An error that a client is told in PostgreSQL's own words, and that ends its connection.
///
/// A ``ProxyDirectory`` throws it when the client should know the reason; any other error of a
/// directory is logged and told as an internal one.
public struct ProxyRefusal: Error, Sendable, Equatable {
  /// Five characters, PostgreSQL's appendix A.
  public var sqlState: String
  public var message: String
  public var hint: String?

  public init(sqlState: String, message: String, hint: String? = nil) {
    self.sqlState = sqlState
    self.message = message
    self.hint = hint
  }
}

extension ProxyRefusal {
  static func protocolViolation(_ message: String) -> ProxyRefusal {
    ProxyRefusal(sqlState: "08P01", message: message)
  }

  static func wrongPassword(role: String) -> ProxyRefusal {
    ProxyRefusal(
      sqlState: "28P01", message: "password authentication failed for user \"\(role)\"",
      hint: "The endpoint, the role and the password are checked together; look at all three.")
  }

  static let plainBeyondLoopback = ProxyRefusal(
    sqlState: "28000", message: "a connection from another machine requires TLS",
    hint: "Connect with sslmode=require.")

  static func addressNotAllowed(_ address: String) -> ProxyRefusal {
    ProxyRefusal(
      sqlState: "28000", message: "connections from \(address) are not allowed",
      hint: "The project's allowed_ips setting lists the addresses that are.")
  }

  static let noEndpoint = ProxyRefusal(
    sqlState: "08004", message: "the connection does not name an endpoint",
    hint: "Use the endpoint's host name, or options=endpoint%3Dep-… in the URI, "
      + "or the password 'endpoint=ep-…;password' over TLS.")

  /// Sessions of the server are lent for one transaction, so an option set on one would reach others.
  static func optionsOfPooledSession(_ options: String) -> ProxyRefusal {
    ProxyRefusal(
      sqlState: "0A000",
      message: "a pooled connection takes no options of its own: '\(options.prefix(80))'",
      hint:
        "Leave '-pooler' out of the endpoint's name, or set them for the role: ALTER ROLE … SET.")
  }

  static let tooManyConnections = ProxyRefusal(
    sqlState: "53300", message: "the proxy has as many connections as it takes",
    hint: "Close unused connections or try again.")

  static func wakeTimeout(_ endpointID: String) -> ProxyRefusal {
    ProxyRefusal(
      sqlState: "57P03", message: "endpoint '\(endpointID)' did not start in time",
      hint: "Try again; the endpoint's operations tell what it is doing.")
  }

  /// In the server's words.
  static func noDatabase(_ name: String) -> ProxyRefusal {
    ProxyRefusal(sqlState: "3D000", message: "database \"\(name)\" does not exist")
  }

  static let computeGone = ProxyRefusal(
    sqlState: "57P01", message: "the compute ended this connection",
    hint: "It was suspended, restarted or crashed; connect again.")

  static let shuttingDown = ProxyRefusal(
    sqlState: "57P01", message: "the proxy is shutting down", hint: "Connect again.")

  static let internalError = ProxyRefusal(
    sqlState: "XX000", message: "the connection could not be set up: internal error",
    hint: "Try again; the server's log has the reason.")

  static func tooManyFailures(retryAfterSeconds: Int) -> ProxyRefusal {
    ProxyRefusal(
      sqlState: "28000", message: "too many failed logins from this address or at this endpoint",
      hint: "Try again in \(retryAfterSeconds) s.")
  }
}
