import PostgresClient

/// What a compute holds after roles and databases were applied to it.
public struct TenantContents: Sendable, Hashable {
  public var databases: [DatabaseRequest]
  public var roles: [String]
  /// What PostgreSQL keeps of passwords, by role; empty where it was not asked for.
  public var verifiers: [String: String]
  /// Names of databases that nobody can connect to: `ALLOW_CONNECTIONS false`, or left half dropped.
  public var closedDatabases: Set<String>

  public init(
    databases: [DatabaseRequest], roles: [String], verifiers: [String: String] = [:],
    closedDatabases: Set<String> = []
  ) {
    self.databases = databases
    self.roles = roles
    self.verifiers = verifiers
    self.closedDatabases = closedDatabases
  }
}

/// A database that a compute may still have under its former name.
public struct DatabaseRename: Codable, Sendable, Hashable {
  public var from: String
  public var to: String

  public init(from: String, to: String) {
    self.from = from
    self.to = to
  }
}

/// Roles and databases that a compute shall have, and those that it shall lose.
public struct TenantConfiguration: Codable, Sendable, Hashable {
  public var roles: [RoleRequest]
  public var droppedRoles: [String]
  public var databases: [DatabaseRequest]
  public var droppedDatabases: [String]
  public var renamedDatabases: [DatabaseRename]
  /// Whether missing databases are made, and all given to their owners. Not so on a line opened at a
  /// past moment: there the past decides.
  public var createsDatabases: Bool
  /// The role that all databases are given to: those of a server elsewhere, whose roles nobody can log
  /// in as.
  public var adopter: String?

  public init(
    roles: [RoleRequest], droppedRoles: [String] = [], databases: [DatabaseRequest],
    droppedDatabases: [String] = [], renamedDatabases: [DatabaseRename] = [],
    createsDatabases: Bool = true, adopter: String? = nil
  ) {
    self.roles = roles
    self.droppedRoles = droppedRoles
    self.databases = databases
    self.droppedDatabases = droppedDatabases
    self.renamedDatabases = renamedDatabases
    self.createsDatabases = createsDatabases
    self.adopter = adopter
  }
}

extension TenantConfiguration {
  var removesDatabases: Bool { !droppedDatabases.isEmpty }
}

/// When sessions of clients count as use.
public enum TenantUse {
  /// How long a transaction in which nothing happens keeps a past moment open; seconds.
  public static let transactionSeconds = 300
}

/// Puts roles and databases into running computes. Every call may be repeated.
public protocol TenantConfigurator: Sendable {
  /// - Returns: what is there afterwards, without the platform's own roles and databases.
  func apply(
    _ configuration: TenantConfiguration, to compute: RunningCompute
  ) async throws -> TenantContents
  /// What is there, with passwords' verifiers, without the platform's own roles and databases.
  func contents(of compute: RunningCompute) async throws -> TenantContents
  /// Ends all sessions of clients. A compute that does not run has none.
  func disconnectClients(of compute: RunningCompute) async throws
  /// Whether a client's statement or transaction is under way or ended less than `seconds` ago. A
  /// compute that does not run is not. A transaction in which nothing happened for
  /// ``TenantUse/transactionSeconds`` does not count.
  func isInUse(_ compute: RunningCompute, within seconds: Int) async throws -> Bool
  /// Bytes of all databases that are not the platform's, as PostgreSQL counts them.
  func logicalSize(of compute: RunningCompute) async throws -> Int
}

/// The real one: SQL over the compute's unix socket, as its superuser.
public struct PostgresTenantConfigurator: TenantConfigurator {
  /// The superuser of every compute; no tenant can log in as it.
  public static let superuser = "exzo_superuser"

  private let user: String

  public init() { self.init(user: Self.superuser) }

  init(user: String) { self.user = user }

  public func apply(
    _ configuration: TenantConfiguration, to compute: RunningCompute
  ) async throws -> TenantContents {
    try await onConnection(to: compute) { try TenantSession(connection: $0).apply(configuration) }
  }

  public func contents(of compute: RunningCompute) async throws -> TenantContents {
    try await onConnection(to: compute) { try TenantSession(connection: $0).contents() }
  }

  public func disconnectClients(of compute: RunningCompute) async throws {
    do {
      try await onConnection(to: compute) { connection in
        _ = try connection.query(
          """
          SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
          JOIN pg_roles AS r ON r.oid = a.usesysid
          WHERE a.backend_type = 'client backend' AND NOT r.rolsuper
          """)
      }
    } catch let error as PostgresError where error.code == .connectFailed || error.isConnectionLoss
    {
      // A server that is down has no sessions.
    }
  }

  public func isInUse(_ compute: RunningCompute, within seconds: Int) async throws -> Bool {
    do {
      return try await onConnection(to: compute) { connection in
        try connection.query(
          """
          SELECT count(*) > 0 AS found FROM pg_stat_activity AS a
          LEFT JOIN pg_roles AS r ON r.oid = a.usesysid
          WHERE a.backend_type = 'client backend' AND r.rolsuper IS NOT TRUE
            -- Without a state: it is only just connecting.
            AND (a.state IS NULL OR a.state NOT LIKE 'idle%'
              OR a.state_change > now() - $1::int * interval '1 second'
              OR a.state LIKE 'idle in transaction%'
                AND a.state_change > now() - $2::int * interval '1 second')
          """, parameters: [.init(seconds), .init(TenantUse.transactionSeconds)]
        ).first?.value("found", as: Bool.self) ?? false
      }
    } catch let error as PostgresError where error.code == .connectFailed || error.isConnectionLoss
    {
      return false
    }
  }

  public func logicalSize(of compute: RunningCompute) async throws -> Int {
    try await onConnection(to: compute) { connection in
      let row = try connection.query(
        """
        SELECT coalesce(sum(pg_database_size(oid)), 0)::bigint::text AS size FROM pg_database
        WHERE datname NOT IN ('template0', 'template1', 'postgres')
        """
      ).first
      return try row?.value("size", as: Int.self) ?? 0
    }
  }

  private func onConnection<Value: Sendable>(
    to compute: RunningCompute, _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    try await compute.onSession(
      superuser: user, options: "-c statement_timeout=60s -c search_path=pg_catalog", body)
  }
}

/// The statements; blocks its thread.
private struct TenantSession {
  let connection: PostgresConnection

  func apply(_ configuration: TenantConfiguration) throws -> TenantContents {
    for role in configuration.roles { try apply(role) }
    for rename in configuration.renamedDatabases { try self.rename(rename) }
    let present = Set(try databases().map(\.name))
    if configuration.createsDatabases {
      for database in configuration.databases where !present.contains(database.name) {
        let name = try SQL.identifier(database.name)
        try connection.query("CREATE DATABASE \(name) OWNER \(try SQL.identifier(database.owner))")
      }
      try giveDatabases(configuration.databases)
    }
    if let adopter = configuration.adopter {
      try giveDatabases(
        try databases().map { DatabaseRequest(name: $0.name, owner: adopter) })
    }
    for name in configuration.droppedDatabases { try drop(database: name) }
    for name in configuration.droppedRoles { try drop(role: name) }
    return TenantContents(
      databases: try databases(), roles: try roles(), closedDatabases: try closedDatabases())
  }

  /// PostgreSQL drops no template, whoever made it one.
  private func drop(database: String) throws {
    let name = try SQL.identifier(database)
    let isTemplate =
      try connection.query(
        "SELECT FROM pg_database WHERE datname = $1 AND datistemplate",
        parameters: [.text(database)]
      ).rowCount > 0
    if isTemplate { try connection.query("ALTER DATABASE \(name) IS_TEMPLATE false") }
    try connection.query("DROP DATABASE IF EXISTS \(name) WITH (FORCE)")
  }

  private func giveDatabases(_ wanted: [DatabaseRequest]) throws {
    let owners = Dictionary(try databases().map { ($0.name, $0.owner) }) { $1 }
    for database in wanted {
      guard let owner = owners[database.name], owner != database.owner else { continue }
      let name = try SQL.identifier(database.name)
      try connection.query("ALTER DATABASE \(name) OWNER TO \(try SQL.identifier(database.owner))")
    }
  }

  /// Sessions in the database would stand in the way.
  private func rename(_ rename: DatabaseRename) throws {
    let names = try databases().map(\.name)
    guard names.contains(rename.from), !names.contains(rename.to) else { return }
    try connection.query(
      "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1",
      parameters: [.text(rename.from)])
    try connection.query(
      "ALTER DATABASE \(try SQL.identifier(rename.from)) RENAME TO \(try SQL.identifier(rename.to))"
    )
  }

  private func apply(_ role: RoleRequest) throws {
    let name = try SQL.identifier(role.name)
    let found = try connection.query(
      "SELECT rolsuper FROM pg_roles WHERE rolname = $1", parameters: [.text(role.name)]
    ).first
    // A superuser is the platform's; it is never changed for a tenant.
    guard try found?.value("rolsuper", as: Bool.self) != true else {
      throw PostgresError(.invalidArgument, "change role '\(role.name)': it is a superuser")
    }
    let exists = found != nil
    let verb = exists ? "ALTER ROLE \(name)" : "CREATE ROLE \(name) NOSUPERUSER INHERIT"
    let password = try role.scramVerifier.map { " PASSWORD \(try SQL.literal($0))" } ?? ""
    try connection.query("\(verb) CREATEDB \(role.login ? "LOGIN" : "NOLOGIN")\(password)")
    // As the template's owner has them.
    if !exists { try connection.query("GRANT pg_read_all_stats, pg_signal_backend TO \(name)") }
  }

  /// A role that owns objects somewhere stays, unable to log in.
  private func drop(role: String) throws {
    let exists =
      try connection.query(
        "SELECT 1 FROM pg_roles WHERE rolname = $1", parameters: [.text(role)]
      ).rowCount > 0
    guard exists else { return }
    let name = try SQL.identifier(role)
    do {
      try connection.query("DROP ROLE \(name)")
    } catch let error as PostgresError where error.sqlState == "2BP01" {
      try connection.query("ALTER ROLE \(name) NOLOGIN PASSWORD NULL")
    }
  }

  func contents() throws -> TenantContents {
    let rows = try connection.query(
      "SELECT rolname, rolpassword FROM pg_authid WHERE NOT rolsuper AND rolpassword IS NOT NULL"
    ).rows
    return TenantContents(
      databases: try databases(), roles: try roles(),
      verifiers: Dictionary(
        try rows.map { (try $0.value("rolname"), try $0.value("rolpassword")) }
      ) { $1 }, closedDatabases: try closedDatabases())
  }

  /// `datconnlimit` is -2 where a `DROP DATABASE` did not come to its end.
  private func closedDatabases() throws -> Set<String> {
    Set(
      try connection.query(
        "SELECT datname FROM pg_database WHERE NOT datallowconn OR datconnlimit = -2"
      ).rows.map { try $0.value("datname") })
  }

  /// Templates that a tenant made are databases like any other. At a moment of an attached server, which is read as
  /// it was, superusers of its own have databases.
  private func databases() throws -> [DatabaseRequest] {
    try connection.query(
      """
      SELECT d.datname, r.rolname FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba
      WHERE d.datname NOT IN ('template0', 'template1')
        AND (NOT r.rolsuper OR r.rolname <> '\(PostgresTenantConfigurator.superuser)'
          AND d.datname <> 'postgres')
      ORDER BY d.oid
      """
    ).rows.map { DatabaseRequest(name: try $0.value("datname"), owner: try $0.value("rolname")) }
  }

  private func roles() throws -> [String] {
    try connection.query(
      "SELECT rolname FROM pg_roles WHERE NOT rolsuper AND rolname !~ '^pg_' ORDER BY oid"
    ).rows.map { try $0.value("rolname") }
  }
}
