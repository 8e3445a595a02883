import Foundation

/// Where a server is and who asks: everything that psql, pgbench and pg_dump need to reach it.
///
/// The same value serves a stock server's socket directory, a compute's, and Exzo's proxy.
public struct ServerConnection: Sendable, Hashable {
  /// A host name, an address, or a unix socket directory.
  public var host: String
  public var port: Int
  public var user: String
  public var database: String
  public var password: String?
  /// Other libpq keywords, such as `["sslmode": "require", "options": "endpoint=ep-…"]`.
  public var parameters: [String: String]
  /// The version whose client programs are used.
  public var major: Int

  public init(
    host: String, port: Int = 5432, user: String = "postgres", database: String = "postgres",
    password: String? = nil, parameters: [String: String] = [:], major: Int = 15
  ) {
    self.host = host
    self.port = port
    self.user = user
    self.database = database
    self.password = password
    self.parameters = parameters
    self.major = major
  }

  /// The same server and user, another database.
  public func with(database: String) -> ServerConnection {
    var copy = self
    copy.database = database
    return copy
  }

  /// libpq's keyword form, quoted; the password is left to ``environment``.
  public var conninfo: String {
    var words = ["host": host, "port": "\(port)", "user": user, "dbname": database]
    words.merge(parameters) { $1 }
    return words.sorted { $0.key < $1.key }.map { key, value in
      let quoted = value.replacingOccurrences(of: "\\", with: "\\\\")
        .replacingOccurrences(of: "'", with: "\\'")
      return "\(key)='\(quoted)'"
    }.joined(separator: " ")
  }

  /// What a client program needs beside its arguments.
  public var environment: [String: String] {
    guard let password else { return [:] }
    return ["PGPASSWORD": password]
  }

  /// The full path of a client program of this version.
  public func program(_ name: String) -> String {
    "\(StockServer.binaries(major: major))/\(name)"
  }

  /// Runs SQL through `psql -AtXq`, stops at the first error, and returns what it printed without
  /// the last line end. Blocks the thread.
  @discardableResult
  public func psql(_ sql: String) throws -> String {
    try run(
      [program("psql"), "-AtXq", "-v", "ON_ERROR_STOP=1", "-d", conninfo],
      environment: environment, input: sql
    ).output.trimmingCharacters(in: .newlines)
  }

  /// Runs pgbench to its end; `options` without the connection's. Blocks the thread.
  @discardableResult
  public func pgbench(_ options: [String]) throws -> String {
    try run([program("pgbench")] + options + [conninfo], environment: environment).output
  }
}
