import ControlPlane
import Foundation
import PostgresClient

/// What a database has beside its contents, and no archive of one database holds: rights, settings, a comment.
struct DatabaseProperties: Codable, Sendable, Equatable {
  struct Right: Codable, Sendable, Equatable {
    /// `nil` is everybody.
    var role: String?
    var privilege: String
    var isGrantable: Bool
  }

  struct Setting: Codable, Sendable, Equatable {
    /// `nil` is everybody.
    var role: String?
    var name: String
    /// As SQL.
    var value: String
  }

  /// `nil` where nobody changed what every database has.
  var rights: [Right]?
  var settings: [Setting]
  var comment: String?
  /// -1 is none.
  var connectionLimit: Int

  /// Of the database that the connection is to.
  init(_ connection: PostgresConnection) throws {
    let row = try connection.query(
      """
      SELECT datacl IS NULL AS is_plain, datconnlimit, shobj_description(oid, 'pg_database') AS said
      FROM pg_database WHERE datname = current_database()
      """
    ).first
    rights = try row?.value("is_plain", as: Bool.self) ?? true ? nil : Self.rights(connection)
    comment = try row?.optional("said")
    connectionLimit = try row?.value("datconnlimit") ?? -1
    settings = try connection.query(
      """
      SELECT r.rolname AS role, split_part(c, '=', 1) AS name, \(SourceRead.value) AS value
      FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
      LEFT JOIN pg_roles AS r ON r.oid = s.setrole CROSS JOIN unnest(s.setconfig) AS u (c)
      WHERE d.datname = current_database() AND (s.setrole = 0 OR NOT r.rolsuper) ORDER BY 1, 2
      """
    ).rows.map {
      Setting(
        role: try $0.optional("role"), name: try $0.value("name"), value: try $0.value("value"))
    }
  }

  private static func rights(_ connection: PostgresConnection) throws -> [Right] {
    try connection.query(
      """
      SELECT r.rolname AS role, a.privilege_type, a.is_grantable
      FROM pg_database AS d CROSS JOIN LATERAL aclexplode(d.datacl) AS a
      LEFT JOIN pg_roles AS r ON r.oid = a.grantee
      WHERE d.datname = current_database() AND (a.grantee = 0 OR \(RestoreRole.isTenant))
      ORDER BY 1, 2
      """
    ).rows.map {
      Right(
        role: try $0.optional("role"), privilege: try $0.value("privilege_type"),
        isGrantable: try $0.value("is_grantable"))
    }
  }

  /// Roles that are named.
  var roles: [String] { (rights ?? []).compactMap(\.role) + settings.compactMap(\.role) }

  /// Gives them to a database that was made; what the script's role may not give is noted.
  func write(to script: RestoreScript, database: String, owner: String) throws {
    let name = try SQL.identifier(database)
    if let rights {
      var statements =
        "REVOKE ALL ON DATABASE \(name) FROM PUBLIC, \(try SQL.identifier(owner));\n"
      for right in rights {
        let role = try right.role.map { try SQL.identifier($0) } ?? "PUBLIC"
        statements += "GRANT \(right.privilege) ON DATABASE \(name) TO \(role)"
        statements += right.isGrantable ? " WITH GRANT OPTION;\n" : ";\n"
      }
      try script.attempt(statements, otherwise: "not restored: rights on the database")
    }
    for setting in settings {
      let subject = try setting.role.map { "ROLE \(try SQL.identifier($0)) IN DATABASE" }
      try script.attempt(
        "ALTER \(subject ?? "DATABASE") \(name) SET \(try SQL.identifier(setting.name)) "
          + "TO \(setting.value);\n",
        otherwise: "not restored: setting '\(setting.name)' of the database"
          + (setting.role.map { " for role '\($0)'" } ?? ""))
    }
    if let comment {
      try script.attempt(
        "COMMENT ON DATABASE \(name) IS \(try SQL.literal(comment));\n",
        otherwise: "not restored: the comment on the database")
    }
    guard connectionLimit >= 0 else { return }
    try script.attempt(
      "ALTER DATABASE \(name) CONNECTION LIMIT \(connectionLimit);\n",
      otherwise: "not restored: the limit of connections to the database")
  }
}
