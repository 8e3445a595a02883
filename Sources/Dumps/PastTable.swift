import ControlPlane
import Foundation
import PostgresClient

/// A table as a database has it.
struct PastTable {
  var schema: String
  var name: String
  let oid: String
  /// Its columns that hold values of their own, in order.
  let columns: [String]
  /// Whether it is partitioned: its partitions hold its rows.
  let isPartitioned: Bool

  /// - Throws: ``DumpError`` where there is no such table, or it is none.
  init(_ name: TableName, _ connection: PostgresConnection) throws {
    let found = try Self.find(name, connection)
    guard let row = found, let oid = row["oid"] else {
      throw DumpError(
        "find table '\(name)': database '\(connection.parameters.database)' does not have it",
        hint: "name a moment at which it was there; quote names that hold capitals")
    }
    schema = try row.value("nspname")
    self.name = try row.value("relname")
    self.oid = oid
    guard ["r", "p"].contains(row["kind"]) else {
      throw DumpError(
        "find table '\(name)': it is no table",
        hint: "views and sequences come back with 'exzo branches schema-diff' and a dump")
    }
    columns = try Self.columns(oid, connection)
    isPartitioned = row["kind"] == "p"
  }

  private static func find(
    _ name: TableName, _ connection: PostgresConnection
  ) throws -> PostgresRow? {
    for candidate in name.isFoldable ? [name, name.folded] : [name] {
      let row = try connection.query(
        """
        SELECT c.oid::text AS oid, n.nspname, c.relname, c.relkind::text AS kind
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2
        """, parameters: [.text(candidate.schema ?? "public"), .text(candidate.name)]
      ).first
      if let row { return row }
    }
    return nil
  }

  var qualified: String {
    get throws { "\(try SQL.identifier(schema)).\(try SQL.identifier(name))" }
  }

  static func columns(_ oid: String, _ connection: PostgresConnection) throws -> [String] {
    try connection.query(
      """
      SELECT attname FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0
        AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
      """, parameters: [.text(oid)]
    ).rows.map { try $0.value("attname") }
  }

  static func exists(
    _ schema: String, _ name: String, _ connection: PostgresConnection
  ) throws -> Bool {
    try names(schema, connection).contains(name)
  }

  /// What tables, indexes, sequences and the like of a schema are called.
  static func names(_ schema: String, _ connection: PostgresConnection) throws -> Set<String> {
    Set(
      try connection.query(
        """
        SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1
        """, parameters: [.text(schema)]
      ).rows.map { try $0.value("relname") })
  }

  /// Owners of the table, its partitions and sequences, and those who have rights on it.
  func owners(_ connection: PostgresConnection) throws -> [String] {
    try connection.query(
      """
      WITH tree AS (SELECT relid FROM pg_partition_tree($1::oid) UNION SELECT $1::oid)
      SELECT DISTINCT r.rolname FROM tree AS t JOIN pg_class AS c ON c.oid = t.relid
      LEFT JOIN LATERAL aclexplode(c.relacl) AS a ON true
      JOIN pg_roles AS r ON r.oid IN (c.relowner, a.grantee, a.grantor) WHERE NOT r.rolsuper
      """, parameters: [.text(oid)]
    ).rows.map { try $0.value("rolname") }
  }

  /// Foreign keys of other tables that point to this one.
  func incomingKeys(_ connection: PostgresConnection) throws -> [String] {
    try connection.query(
      """
      SELECT conname || ' of ' || conrelid::regclass::text AS name FROM pg_constraint
      WHERE contype = 'f' AND confrelid = $1::oid AND conrelid <> $1::oid AND conparentid = 0
      ORDER BY 1
      """, parameters: [.text(oid)]
    ).rows.map { try $0.value("name") }
  }
}

/// A table with its partitions, under the names that they shall have.
struct RenamedTable {
  struct Leaf {
    var qualified: String
    var columns: [String]
  }

  var schema: String
  var name: String
  /// All tables of it that lie in its schema, the root first.
  var relations: [String]
  /// Those that hold rows.
  var leaves: [Leaf]
}

/// Gives a table, its partitions, indexes, sequences and statistics other names.
struct TableRenaming {
  let table: PastTable
  /// `nil` keeps all names.
  let newName: String?
  /// Names that are not free where the table goes.
  let taken: Set<String>

  private struct Relation {
    var oid: String
    var name: String
    var kind: String
  }

  func run(_ connection: PostgresConnection) throws -> RenamedTable {
    var used = taken.union(try PastTable.names(table.schema, connection))
    var relations = try tree(connection)
    if let newName {
      for index in relations.indices {
        let old = relations[index].name
        let fresh = index == 0 ? newName : Self.derive(old, table.name, newName, used)
        used.insert(fresh)
        try rename("TABLE", old, fresh, connection)
        relations[index].name = fresh
      }
      for (verb, name) in try dependents(relations, connection) {
        let fresh = Self.derive(name, table.name, newName, used)
        used.insert(fresh)
        try rename(verb, name, fresh, connection)
      }
    }
    let schema = try SQL.identifier(table.schema)
    return RenamedTable(
      schema: table.schema, name: newName ?? table.name, relations: relations.map(\.name),
      leaves: try relations.filter { $0.kind == "r" }.map {
        RenamedTable.Leaf(
          qualified: "\(schema).\(try SQL.identifier($0.name))",
          columns: try PastTable.columns($0.oid, connection))
      })
  }

  private func tree(_ connection: PostgresConnection) throws -> [Relation] {
    let rows = try connection.query(
      """
      SELECT c.oid::text AS oid, c.relname, c.relkind::text AS kind, n.nspname
      FROM (SELECT relid, level FROM pg_partition_tree($1::oid)
        UNION SELECT $1::oid, 0) AS t
      JOIN pg_class AS c ON c.oid = t.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace
      ORDER BY t.level, c.oid
      """, parameters: [.text(table.oid)]
    ).rows
    return try rows.map { row in
      guard row["nspname"] == table.schema else {
        throw DumpError(
          "recover table '\(table.name)': its partition '\(row["relname"] ?? "")' lies in another "
            + "schema", hint: "make a branch at the moment, and dump the tables there")
      }
      return Relation(
        oid: try row.value("oid"), name: try row.value("relname"), kind: try row.value("kind"))
    }
  }

  /// Indexes, sequences that the tables own, and extended statistics.
  private func dependents(
    _ relations: [Relation], _ connection: PostgresConnection
  ) throws -> [(String, String)] {
    let oids = "{\(relations.map(\.oid).joined(separator: ","))}"
    return try connection.query(
      """
      SELECT 'INDEX' AS verb, c.relname AS name FROM pg_index AS i
      JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = ANY($1::oid[])
      UNION ALL
      SELECT 'SEQUENCE', c.relname FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid
      WHERE d.classid = 'pg_class'::regclass AND c.relkind = 'S' AND d.deptype IN ('a', 'i')
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY($1::oid[])
        AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $2)
      UNION ALL
      SELECT 'STATISTICS', s.stxname FROM pg_statistic_ext AS s WHERE s.stxrelid = ANY($1::oid[])
        AND s.stxnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $2)
      """, parameters: [.text(oids), .text(table.schema)]
    ).rows.map { (try $0.value("verb"), try $0.value("name")) }
  }

  private func rename(
    _ verb: String, _ old: String, _ new: String, _ connection: PostgresConnection
  ) throws {
    let schema = try SQL.identifier(table.schema)
    try connection.query(
      "ALTER \(verb) \(schema).\(try SQL.identifier(old)) RENAME TO \(try SQL.identifier(new))")
  }

  /// `orders_pkey` of `orders` becomes `orders_restored_pkey`; at most 63 bytes, and free.
  static func derive(
    _ name: String, _ old: String, _ new: String, _ used: Set<String>
  ) -> String {
    let wanted = name.hasPrefix(old) ? new + name.dropFirst(old.count) : "\(new)_\(name)"
    var number = 0
    while true {
      let ending = number == 0 ? "" : "_\(number)"
      var text = wanted
      while text.utf8.count + ending.utf8.count > 63 { text.unicodeScalars.removeLast() }
      if !used.contains(text + ending) { return text + ending }
      number += 1
    }
  }
}
