import CLibpq

extension ConnectionParameters {
  /// The keywords that ``init(connectionString:)`` takes.
  public static let connectionKeywords: Set<String> = [
    "host", "port", "user", "password", "dbname", "sslmode", "options",
  ]

  /// Takes a URI or keywords and values apart as libpq does (PostgreSQL's documentation, "Connection
  /// Strings"), and refuses what could read files, run programs or lead elsewhere.
  ///
  /// Nothing is taken from the environment; the host is required.
  /// - Throws: ``PostgresError`` `.invalidArgument` naming the keyword, never the password.
  public init(connectionString: String) throws {
    var message: UnsafeMutablePointer<CChar>?
    guard let list = PQconninfoParse(connectionString, &message) else {
      defer { PQfreemem(message) }
      let detail = message.map { String(cString: $0) } ?? "out of memory"
      throw PostgresError(
        .invalidArgument,
        "read connection string: \(Self.withoutPassword(detail, connectionString))")
    }
    defer { PQconninfoFree(list) }
    var values: [String: String] = [:]
    var at = list
    while let keyword = at.pointee.keyword {
      if let value = at.pointee.val { values[String(cString: keyword)] = String(cString: value) }
      at += 1
    }
    if let other = values.keys.sorted().first(where: { !Self.connectionKeywords.contains($0) }) {
      throw PostgresError(
        .invalidArgument,
        "read connection string: '\(other)' is not taken; allowed are "
          + Self.connectionKeywords.sorted().joined(separator: ", "))
    }
    guard let host = values["host"], !host.isEmpty, !host.contains(",") else {
      throw PostgresError(.invalidArgument, "read connection string: it must name one host")
    }
    guard let port = Int(values["port"] ?? "5432"), (1...65_535).contains(port) else {
      throw PostgresError(
        .invalidArgument, "read connection string: port '\(values["port"] ?? "")' is not 1 to 65535"
      )
    }
    guard let user = values["user"] else {
      throw PostgresError(.invalidArgument, "read connection string: it must name a user")
    }
    self.init(
      host: host, port: port, user: user, password: values["password"],
      database: values["dbname"] ?? user, sslMode: values["sslmode"], options: values["options"])
  }

  /// libpq may quote the whole string in what it says.
  private static func withoutPassword(_ detail: String, _ string: String) -> String {
    let end = detail.last == "\n" ? String(detail.dropLast()) : detail
    return end.contains(string) ? "it is malformed" : end
  }

  /// Keywords and values for the command line of one of PostgreSQL's programs; the password goes
  /// by `PGPASSWORD`.
  public var withoutPassword: String {
    var list = [("host", host), ("port", "\(port)"), ("user", user), ("dbname", database)]
    if let sslMode { list.append(("sslmode", sslMode)) }
    if let options { list.append(("options", options)) }
    return list.map { "\($0)='\(Self.escaped($1))'" }.joined(separator: " ")
  }

  private static func escaped(_ value: String) -> String {
    var result = ""
    for character in value {
      if character == "'" || character == "\\" { result.append("\\") }
      result.append(character)
    }
    return result
  }
}
