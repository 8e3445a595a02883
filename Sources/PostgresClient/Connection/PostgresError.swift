import CLibpq

/// What went wrong in talking to a server.
public struct PostgresError: Error, Sendable, Equatable {
  public enum Code: Sendable, Equatable {
    /// No session came about: nothing listens, the password is wrong, the server is starting up.
    case connectFailed
    /// The session ended. Whether the statement in flight took effect is unknown.
    case connectionLost
    /// The server refused the statement; ``PostgresError/sqlState`` says why. The session lives.
    case server
    /// The server's answer is not of the kind that was asked for.
    case unexpectedReply
    /// A value or a name that cannot be sent, such as text with a zero byte.
    case invalidArgument
    /// A value that is NULL or cannot be read as the type that was asked for.
    case undecodable
    /// The connection or pool was closed by its owner.
    case closed
    /// No connection of the pool became free in time, or its queue is full.
    case poolExhausted
  }

  public var code: Code
  /// Five characters where the server sent them, else `nil`.
  public var sqlState: String?
  public var message: String
  public var detail: String?
  public var hint: String?
  /// Where in the statement the error is: characters from 1.
  public var position: Int?

  public init(
    _ code: Code, _ message: String, sqlState: String? = nil, detail: String? = nil,
    hint: String? = nil, position: Int? = nil
  ) {
    self.code = code
    self.message = message
    self.sqlState = sqlState
    self.detail = detail
    self.hint = hint
    self.position = position
  }

  /// Whether a new session may do better: there is none now, or the server is going away.
  public var isConnectionLoss: Bool { code == .connectFailed || code == .connectionLost }
}

extension PostgresError: CustomStringConvertible {
  public var description: String {
    var text = message
    if let sqlState { text += " (SQLSTATE \(sqlState))" }
    if let detail { text += "\nDETAIL: \(detail)" }
    if let hint { text += "\nHINT: \(hint)" }
    return text
  }
}

/// A notice or warning that the server sent beside its answers.
public struct PostgresNotice: Sendable, Equatable {
  /// `NOTICE`, `WARNING` …, untranslated.
  public var severity: String
  public var sqlState: String
  public var message: String
}

extension PostgresError {
  /// The error of a failed result; where the session ended with it, of the lost connection.
  init(result: OpaquePointer?, session: OpaquePointer) {
    let isLost = PQstatus(session) == CONNECTION_BAD
    guard let primary = field(result, "M") else {
      self = PostgresError.session(session, isLost ? .connectionLost : .unexpectedReply)
      return
    }
    self.init(
      isLost ? .connectionLost : .server, primary, sqlState: field(result, "C"),
      detail: field(result, "D"), hint: field(result, "H"),
      position: field(result, "P").flatMap { Int($0) })
  }

  /// The session's own last error: first line as message, the rest as hint.
  static func session(_ session: OpaquePointer, _ code: Code) -> PostgresError {
    let text = PQerrorMessage(session).map { String(cString: $0) } ?? ""
    let lines = text.split(separator: "\n").map { trimmed(String($0)) }
    return PostgresError(
      code, lines.first ?? "connection ended without a message",
      hint: lines.count > 1 ? lines.dropFirst().joined(separator: " ") : nil)
  }
}

extension PostgresNotice {
  init(result: OpaquePointer?) {
    severity = field(result, "V") ?? field(result, "S") ?? ""
    sqlState = field(result, "C") ?? ""
    message = field(result, "M") ?? ""
  }
}

/// One field of an error or notice result; codes as in the protocol's "Error and Notice Message
/// Fields".
private func field(_ result: OpaquePointer?, _ code: Character) -> String? {
  guard let result, let ascii = code.asciiValue,
    let text = PQresultErrorField(result, Int32(ascii))
  else { return nil }
  return String(cString: text)
}

private func trimmed(_ text: String) -> String {
  let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0 == "\r" }
  return String(text.drop(while: isSpace).reversed().drop(while: isSpace).reversed())
}
