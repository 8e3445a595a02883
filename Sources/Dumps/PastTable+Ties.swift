import ControlPlane
import Foundation
import PostgresClient

extension PastTable {
  /// What does not come back with the table, or of its rows, each by name.
  func remarks(_ connection: PostgresConnection, ofRows: Bool) throws -> [String] {
    var remarks = try relations(
      connection, "c.relpersistence = 'u' AND c.relkind = 'r'", "SELECT relid FROM partitions"
    ).map { "no rows of '\($0)' came back: it is unlogged, its rows are in no history" }
    remarks += try relations(connection, "c.relkind = 'f'", "SELECT relid FROM partitions").map {
      "no rows of '\($0)' came back: it is a foreign table, its rows lie on another server"
    }
    if !isPartitioned {
      remarks += try relations(connection, "true", "SELECT relid FROM children").map {
        (ofRows ? "no rows of '\($0)' came back" : "not restored: table '\($0)' and its rows")
          + ": it inherits from '\(schema).\(name)', and is recovered by its own name"
      }
    }
    if !ofRows {
      remarks += try connection.query(
        """
        \(Self.family)
        SELECT p.pubname, r.prrelid::regclass::text AS name FROM pg_publication_rel AS r
        JOIN pg_publication AS p ON p.oid = r.prpubid
        WHERE r.prrelid IN (SELECT relid FROM partitions) ORDER BY 1, 2
        """, parameters: [.text(oid)]
      ).rows.map {
        "not restored: that publication '\($0["pubname"] ?? "")' holds '\($0["name"] ?? "")'"
      }
    }
    return remarks
  }

  /// Views that read it then, or read one that does, and are not there now.
  func missingViews(_ before: PostgresConnection, _ now: PostgresConnection) throws -> [String] {
    let found = try before.query(
      """
      \(Self.family), readers AS (
        SELECT relid FROM partitions UNION SELECT r.ev_class FROM pg_depend AS d
        JOIN pg_rewrite AS r ON r.oid = d.objid JOIN readers ON d.refobjid = readers.relid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass)
      SELECT n.nspname, c.relname, CASE c.relkind WHEN 'm' THEN 'materialized ' ELSE '' END AS kind
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.oid IN (SELECT relid FROM readers) AND c.relkind IN ('v', 'm') ORDER BY c.oid
      """, parameters: [.text(oid)]
    ).rows
    return try found.compactMap { row in
      let (schema, name): (String, String) = try (row.value("nspname"), row.value("relname"))
      if try Self.exists(schema, name, now) { return nil }
      return
        "not restored: \(try row.value("kind", as: String.self))view '\(schema).\(name)', which read it"
    }
  }

  /// `partitions`, the table among them, and `children`, those that inherit from it, as far as it goes.
  private static let family = """
    WITH RECURSIVE partitions AS (
      SELECT relid::oid FROM pg_partition_tree($1::oid) UNION SELECT $1::oid),
    children AS (
      SELECT inhrelid AS relid FROM pg_inherits WHERE inhparent = $1::oid
      UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN children AS c ON c.relid = i.inhparent)
    """

  private func relations(
    _ connection: PostgresConnection, _ condition: String, _ members: String
  ) throws -> [String] {
    try connection.query(
      """
      \(Self.family)
      SELECT c.oid::regclass::text AS name FROM pg_class AS c
      WHERE c.oid IN (\(members)) AND \(condition) ORDER BY 1
      """, parameters: [.text(oid)]
    ).rows.map { try $0.value("name") }
  }
}

/// What a table hangs on: those that it inherits from, and the one that it is a partition of.
struct TableTies {
  private let table: PastTable
  private let parents: [(schema: String, name: String)]
  private let isPartition: Bool
  private let bounds: String

  init(_ table: PastTable, _ connection: PostgresConnection) throws {
    self.table = table
    let rows = try connection.query(
      """
      SELECT n.nspname, p.relname, c.relispartition AS is_partition,
        coalesce(pg_get_expr(c.relpartbound, c.oid), '') AS bounds
      FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
      JOIN pg_class AS p ON p.oid = i.inhparent JOIN pg_namespace AS n ON n.oid = p.relnamespace
      WHERE i.inhrelid = $1::oid ORDER BY i.inhseqno
      """, parameters: [.text(table.oid)]
    ).rows
    parents = try rows.map { (try $0.value("nspname"), try $0.value("relname")) }
    isPartition = try rows.first?.value("is_partition") ?? false
    bounds = try rows.first?.value("bounds") ?? ""
  }

  /// Frees the throw-away past's table of what it shall not hang on where it goes: a table under another name would
  /// show its rows in its parents a second time.
  func loosen(
    isRenamed: Bool, _ before: PostgresConnection, _ now: PostgresConnection
  ) throws -> [String] {
    var notes: [String] = []
    for parent in parents {
      let name = "\(parent.schema).\(parent.name)"
      if isPartition {
        if isRenamed {
          notes.append(
            "not restored: that '\(table.schema).\(table.name)' is a partition of '\(name)' (\(bounds))"
          )
        }
        continue
      }
      let isThere = try PastTable.exists(parent.schema, parent.name, now)
      guard isRenamed || !isThere else { continue }
      try before.query(
        "ALTER TABLE \(try table.qualified) NO INHERIT "
          + "\(try SQL.identifier(parent.schema)).\(try SQL.identifier(parent.name))")
      notes.append(
        "not restored: that '\(table.schema).\(table.name)' inherits from '\(name)'"
          + (isThere ? "" : ", which is not there"))
    }
    return notes
  }

  /// Entries of an archive that tie the table to the one that it is a partition of.
  struct Bonds {
    fileprivate var schema: String
    fileprivate var table: String?
    fileprivate var indexes: Set<String>

    func include(_ entry: ArchiveContents.Entry) -> Bool {
      guard let table, entry.namespace == schema else { return false }
      return entry.kind == "TABLE ATTACH" && entry.tag == table
        || entry.kind == "INDEX ATTACH" && indexes.contains(entry.tag)
    }
  }

  func bonds(of renamed: RenamedTable, _ connection: PostgresConnection) throws -> Bonds {
    let indexes = try connection.query(
      """
      SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
      WHERE i.indrelid = $1::oid
      """, parameters: [.text(table.oid)]
    ).rows.map { try $0.value("relname", as: String.self) }
    return Bonds(
      schema: renamed.schema, table: isPartition ? renamed.name : nil, indexes: Set(indexes))
  }
}

/// Extended statistics of a table, which `pg_dump` leaves out where tables are named.
struct ExtendedStatistics {
  let name: String
  /// The statements that make them.
  let definition: String

  static func all(
    of table: RenamedTable, _ connection: PostgresConnection
  ) throws -> [ExtendedStatistics] {
    let relations = try table.relations.map { try SQL.literal($0) }.joined(separator: ", ")
    return try connection.query(
      """
      SELECT s.stxname AS name, format('%1$s; ALTER STATISTICS %2$I.%3$I OWNER TO %4$I; '
          'ALTER STATISTICS %2$I.%3$I SET STATISTICS %5$s;', pg_get_statisticsobjdef(s.oid),
        n.nspname, s.stxname, r.rolname, s.stxstattarget) AS definition
      FROM pg_statistic_ext AS s JOIN pg_class AS c ON c.oid = s.stxrelid
      JOIN pg_namespace AS n ON n.oid = s.stxnamespace JOIN pg_roles AS r ON r.oid = s.stxowner
      WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
        AND c.relname IN (\(relations)) ORDER BY s.oid
      """, parameters: [.text(table.schema)]
    ).rows.map {
      ExtendedStatistics(name: try $0.value("name"), definition: try $0.value("definition"))
    }
  }
}
