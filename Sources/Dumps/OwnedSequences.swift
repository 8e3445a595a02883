import ControlPlane
import PostgresClient

/// Ascending sequences that give a table's columns their values.
///
/// They are left where they stand: others take values from them meanwhile, and a value that is set is not taken back by
/// a transaction. Whoever asked for the rows is told where new ones would meet them.
struct OwnedSequences {
  private struct Owned {
    var column: String
    var schema: String
    var name: String
  }

  private let all: [Owned]

  init(of table: PastTable, _ connection: PostgresConnection) throws {
    all = try connection.query(
      """
      SELECT a.attname, n.nspname, c.relname FROM pg_depend AS d
      JOIN pg_class AS c ON c.oid = d.objid JOIN pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_sequence AS s ON s.seqrelid = c.oid
      JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = $1::oid AND d.deptype IN ('a', 'i') AND s.seqincrement > 0
        AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) ORDER BY a.attnum
      """, parameters: [.text(table.oid)]
    ).rows.map {
      Owned(
        column: try $0.value("attname"), schema: try $0.value("nspname"),
        name: try $0.value("relname"))
    }
  }

  /// Notes those that would give out values which the rows in `pg_temp.exzo_rows` have.
  func note(columns: [String], in script: RestoreScript) throws {
    for owned in all where columns.contains(owned.column) {
      let sequence = try "\(SQL.identifier(owned.schema)).\(SQL.identifier(owned.name))"
      let said = try SQL.literal(
        "sequence '\(owned.schema).\(owned.name)' was not moved: it gives column '\(owned.column)' values from "
      )
      let order = try SQL.literal("SELECT setval(\(SQL.literal(sequence)), ")
      try script.noteRows(
        """
        \(said) || s.next || ' on, and rows that came back have up to ' || r.top || ': ' || \(order) || r.top || ')'
        """,
        """
        FROM (SELECT last_value + is_called::int AS next FROM \(sequence)) AS s,
          (SELECT max(\(SQL.identifier(owned.column))) AS top FROM pg_temp.exzo_rows) AS r
        WHERE r.top >= s.next
        """)
    }
  }
}
