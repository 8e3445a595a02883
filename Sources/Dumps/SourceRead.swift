import ControlPlane
import Foundation
import PostgresClient

/// Reads what must be known of a database beside its dump; blocks its thread.
struct SourceRead {
  let tools: PostgresDumpTools
  let compute: RunningCompute
  let database: String

  func run() throws -> DumpSource {
    let connection = try tools.connect(compute, database)
    defer { connection.close() }
    let row = try connection.query(
      """
      SELECT r.rolname, pg_encoding_to_char(d.encoding) AS encoding, d.datcollate, d.datctype,
        CASE WHEN to_jsonb(d) ->> 'datlocprovider' = 'i'
          THEN coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale') END AS icu
      FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba
      WHERE d.datname = current_database()
      """
    ).first
    guard let row else { throw DumpError("read database '\(database)': it is gone") }
    return DumpSource(
      database: database, owner: try row.value("rolname"), encoding: try row.value("encoding"),
      collate: try row.value("datcollate"), characterType: try row.value("datctype"),
      icuLocale: try row.optional("icu"), serverVersion: connection.serverVersion,
      roles: try RestoreRole.roles(connection), globals: try globals(connection),
      tables: try tables(connection), properties: try DatabaseProperties(connection))
  }

  private func tables(_ connection: PostgresConnection) throws -> Int {
    let row = try connection.query(
      """
      SELECT count(*)::text AS count FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_'
        AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT 1 FROM pg_depend AS e
          WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
      """
    ).first
    return try row?.value("count", as: Int.self) ?? 0
  }

  /// Roles, what they are members of, and their settings, as statements; no passwords.
  private func globals(_ connection: PostgresConnection) throws -> String {
    let lines = try Self.globalsQueries.flatMap { query in
      try connection.query(query).rows.compactMap { $0[0] }
    }
    return """
      --
      -- Roles of the cluster that the dump was made of, without passwords.
      --

      \(lines.joined(separator: "\n"))

      """
  }

  /// Settings that are lists are kept as they are to be written; others become literals.
  static let value = """
    CASE WHEN split_part(c, '=', 1) IN ('search_path', 'local_preload_libraries',
      'session_preload_libraries', 'temp_tablespaces') THEN substr(c, strpos(c, '=') + 1)
    ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END
    """

  private static let globalsQueries = [
    """
    SELECT format('CREATE ROLE %I;', rolname) || E'\\n' || format(
      'ALTER ROLE %I WITH NOSUPERUSER %s %s %s %s CONNECTION LIMIT %s;', rolname,
      CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
      CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
      CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
      CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, rolconnlimit)
    FROM pg_roles WHERE \(RestoreRole.isTenant) ORDER BY rolname
    """,
    """
    SELECT format('GRANT %I TO %I%s;', g.rolname, m.rolname,
      CASE WHEN a.admin_option THEN ' WITH ADMIN OPTION' ELSE '' END)
    FROM pg_auth_members AS a JOIN pg_roles AS g ON g.oid = a.roleid
    JOIN pg_roles AS m ON m.oid = a.member WHERE NOT m.rolsuper AND NOT g.rolsuper
      AND m.rolname !~ '^pg_'
    ORDER BY g.rolname, m.rolname
    """,
    """
    SELECT format('ALTER ROLE %I SET %I TO %s;', r.rolname, split_part(c, '=', 1),
      \(value))
    FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole
    CROSS JOIN unnest(s.setconfig) AS u (c)
    WHERE s.setdatabase = 0 AND NOT r.rolsuper ORDER BY 1
    """,
    """
    SELECT format('ALTER DATABASE %I SET %I TO %s;', current_database(), split_part(c, '=', 1),
      \(value))
    FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
    CROSS JOIN unnest(s.setconfig) AS u (c)
    WHERE s.setrole = 0 AND d.datname = current_database() ORDER BY 1
    """,
  ]
}
