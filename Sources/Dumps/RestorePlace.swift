import ControlPlane
import Foundation
import PostgresClient

/// The roles and the database that a dump is restored into.
struct RestorePlace {
  let order: RestoreOrder
  let source: DumpSource
  let cluster: PostgresConnection

  /// Roles that the entries need: their owners, those that rights are granted to, and those that rows name.
  static func roles(
    _ known: [String], _ entries: [ArchiveContents.Entry]?
  ) -> [String] {
    // Rows may name any role then.
    guard let entries, !entries.contains(where: { $0.definition.contains("regrole") }) else {
      return known
    }
    let owners = Set(entries.map(\.owner))
    let grants = entries.filter { $0.kind.hasSuffix("ACL") || $0.kind == "POLICY" }
      .map(\.definition).joined(separator: "\n")
    return known.filter {
      owners.contains($0) || grants.contains($0.replacing("\"", with: "\"\""))
    }
  }

  /// Makes roles that are missing, unable to log in.
  func makeRoles(_ names: [String]) throws -> [String] {
    let present = Set(
      try cluster.query("SELECT rolname FROM pg_roles").rows.map {
        try $0.value("rolname", as: String.self)
      })
    let missing = names.filter { !present.contains($0) }
    for name in missing {
      try cluster.query("CREATE ROLE \(try SQL.identifier(name)) NOLOGIN NOSUPERUSER INHERIT")
    }
    return missing.map { "role '\($0)' was made, without a password and unable to log in" }
  }

  /// Makes the database where it is missing; returns whether it was.
  func makeDatabase(for role: RestoreRole) throws -> Bool {
    let hasOwner =
      try cluster.query(
        "SELECT 1 FROM pg_roles WHERE rolname = $1 AND NOT rolsuper",
        parameters: [.text(source.owner)]
      ).rowCount > 0
    return try MadeDatabase(role: role, name: order.database, cluster: cluster).make(
      owner: hasOwner ? source.owner : order.owner, options: try locale())
  }

  /// What the source's encoding and locale take, where the cluster's template has others.
  private func locale() throws -> String {
    let row = try cluster.query(
      """
      SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype
      FROM pg_database WHERE datname = 'template1'
      """
    ).first
    let isSame =
      row?["encoding"] == source.encoding && row?["datcollate"] == source.collate
      && row?["datctype"] == source.characterType && source.icuLocale == nil
    if isSame { return "" }
    var text = " TEMPLATE template0 ENCODING \(try SQL.literal(source.encoding))"
    text += " LC_COLLATE \(try SQL.literal(source.collate))"
    text += " LC_CTYPE \(try SQL.literal(source.characterType))"
    if let locale = source.icuLocale {
      text += " LOCALE_PROVIDER icu ICU_LOCALE \(try SQL.literal(locale))"
    }
    return text
  }

  /// Refuses a database that holds what would be in the way.
  func check(_ connection: PostgresConnection, _ entries: [ArchiveContents.Entry]?) throws {
    guard order.tables != nil, let entries else { return try checkEmpty(connection) }
    for entry in entries
    where ["TABLE", "MATERIALIZED VIEW", "VIEW", "SEQUENCE"].contains(entry.kind) {
      let found = try connection.query(
        """
        SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2
        """, parameters: [.text(entry.namespace), .text(entry.tag)]
      ).rowCount
      guard found == 0 else {
        throw DumpError(
          "restore '\(entry.namespace).\(entry.tag)' into database '\(order.database)': it is there already",
          hint: "drop or rename it, or restore into another database")
      }
    }
  }

  private func checkEmpty(_ connection: PostgresConnection) throws {
    let row = try connection.query(
      """
      SELECT count(*)::text AS count FROM (
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT 1 FROM pg_depend AS e
            WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
        UNION ALL
        SELECT p.oid FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT 1 FROM pg_depend AS e
            WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')) AS o
      """
    ).first
    let count = try row?.value("count", as: Int.self) ?? 0
    guard count == 0 else {
      throw DumpError(
        "restore into database '\(order.database)': it is not empty, it holds \(count) objects",
        hint: "name a database that is empty or not there yet, or the tables to restore")
    }
  }
}

/// Lets owners have objects in schemas in which they may make none, and schemas and publications in a database in
/// which they may make none, while a restore gives them to them: `ALTER … OWNER TO` asks for it, though the objects
/// were theirs before.
struct SchemaGrants {
  /// Comes before the schemas are made.
  var onDatabase = ""
  var granting = ""
  var revoking = ""
  /// Schemas that the entries need and that neither they nor the database have.
  var missing: [String] = []

  init(
    _ entries: [ArchiveContents.Entry], owner: String, _ connection: PostgresConnection
  ) throws {
    let made = Set(entries.filter { $0.kind == "SCHEMA" }.map(\.tag))
    let present = Set(
      try connection.query("SELECT nspname FROM pg_namespace").rows.map {
        try $0.value("nspname", as: String.self)
      })
    var owners: [String: Set<String>] = [:]
    for entry in entries
    where !entry.namespace.isEmpty && !entry.owner.isEmpty && entry.kind != "SCHEMA" {
      owners[entry.namespace, default: []].insert(entry.owner)
    }
    missing = owners.keys.filter { !made.contains($0) && !present.contains($0) }.sorted()
    for (schema, roles) in owners.sorted(by: { $0.key < $1.key }) {
      for role in roles.sorted() {
        if present.contains(schema), try Self.mayCreate(role, schema, connection) { continue }
        let (name, grantee) = try (SQL.identifier(schema), SQL.identifier(role))
        // The schema's owner has the right already; to take it away later would be wrong.
        if entries.contains(where: { $0.kind == "SCHEMA" && $0.tag == schema && $0.owner == role })
        {
          continue
        }
        granting += "GRANT CREATE ON SCHEMA \(name) TO \(grantee);\n"
        revoking += "REVOKE CREATE ON SCHEMA \(name) FROM \(grantee);\n"
      }
    }
    try grantDatabase(to: entries, connection)
  }

  private mutating func grantDatabase(
    to entries: [ArchiveContents.Entry], _ connection: PostgresConnection
  ) throws {
    let owners = Set(
      entries.filter { ["SCHEMA", "PUBLICATION"].contains($0.kind) && !$0.owner.isEmpty }
        .map(\.owner))
    let rows = try connection.query(
      """
      SELECT current_database() AS database, rolname FROM pg_roles
      WHERE NOT has_database_privilege(oid, current_database(), 'CREATE') ORDER BY oid
      """
    ).rows
    for row in rows {
      let role: String = try row.value("rolname")
      guard owners.contains(role) else { continue }
      let (name, grantee) = try (
        SQL.identifier(row.value("database")), SQL.identifier(role)
      )
      onDatabase += "GRANT CREATE ON DATABASE \(name) TO \(grantee);\n"
      revoking += "REVOKE CREATE ON DATABASE \(name) FROM \(grantee);\n"
    }
  }

  private static func mayCreate(
    _ role: String, _ schema: String, _ connection: PostgresConnection
  ) throws -> Bool {
    let row = try connection.query(
      """
      SELECT has_schema_privilege(r.oid, n.oid, 'CREATE') AS may
      FROM pg_roles AS r, pg_namespace AS n WHERE r.rolname = $1 AND n.nspname = $2
      """, parameters: [.text(role), .text(schema)]
    ).first
    return try row?.value("may", as: Bool.self) ?? false
  }
}
