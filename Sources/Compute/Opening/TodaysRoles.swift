import PostgresClient

/// Brings the roles of an opened moment to today: its passwords, and who may log in at all.
///
/// Old credentials do not come back to life; subscriptions of the parent do not run twice.
struct TodaysRoles {
  let roles: [RoleCredential]

  /// Runs as the platform's superuser on one session. Changes only what differs.
  func install(_ connection: PostgresConnection) throws {
    let known = try connection.query(
      """
      SELECT rolname, rolpassword, rolcanlogin FROM pg_authid
      WHERE NOT rolsuper AND rolname !~ '^pg_'
      """)
    let wanted = Dictionary(roles.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for row in known.rows {
      let name = try row.value("rolname", as: String.self)
      let password = try row.optional("rolpassword", as: String.self)
      let canLogin = try row.value("rolcanlogin", as: Bool.self)
      let quoted = try SQL.identifier(name)
      if let verifier = wanted[name]?.scramVerifier {
        guard password != verifier || !canLogin else { continue }
        _ = try connection.execute(
          "ALTER ROLE \(quoted) LOGIN PASSWORD \(try SQL.literal(verifier))")
      } else if canLogin {
        _ = try connection.execute("ALTER ROLE \(quoted) NOLOGIN PASSWORD NULL")
      }
    }
  }

  /// Databases that hold subscriptions of the parent.
  static func subscriptionDatabases(_ connection: PostgresConnection) throws -> [String] {
    try connection.query(
      """
      SELECT DISTINCT d.datname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
      WHERE s.subenabled
      """
    ).rows.map { try $0.value("datname", as: String.self) }
  }

  /// Disables the subscriptions of the session's database; the server runs without apply workers so
  /// far.
  static func disableSubscriptions(_ connection: PostgresConnection) throws {
    let names = try connection.query(
      """
      SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
      WHERE d.datname = current_database() AND subenabled
      """)
    for row in names.rows {
      let name = try SQL.identifier(row.value("subname", as: String.self))
      _ = try connection.execute("ALTER SUBSCRIPTION \(name) DISABLE")
      _ = try connection.execute("ALTER SUBSCRIPTION \(name) SET (slot_name = NONE)")
    }
  }
}
