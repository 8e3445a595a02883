import PostgresClient

/// Triggers that note every change of every table, whatever tables there are.
enum JournalTriggers {
  /// SQL: whether a row `c` of `pg_class` is a table of the catalog. The journal's own tables and the
  /// list of migrations, which whoever reads the journal has, are none.
  static let isJournaled = "c.relname !~ '^journal_' AND c.relname <> 'migrations'"

  /// Puts the triggers on tables that have none yet, within the caller's transaction.
  ///
  /// A table without primary key cannot be journaled: the schema is refused.
  static func install(_ connection: PostgresConnection) throws {
    let tables = try connection.query(
      """
      SELECT c.relname,
        (SELECT string_agg(quote_literal(a.attname), ', ' ORDER BY a.attnum)
         FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
         WHERE i.indrelid = c.oid AND i.indisprimary) AS key
      FROM pg_class c
      WHERE c.relnamespace = 'exzo'::regnamespace AND c.relkind = 'r'
        AND \(isJournaled)
        AND NOT EXISTS (
          SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'journal_updates')
      ORDER BY c.relname
      """)
    for row in tables.rows {
      let table = try SQL.identifier(row.value("relname", as: String.self))
      guard let key = try row.optional("key", as: String.self) else {
        throw CatalogError(
          .internalFailure, "journal metadata table \(table): it has no primary key")
      }
      try connection.execute(
        """
        CREATE TRIGGER journal_rows AFTER INSERT OR DELETE ON exzo.\(table)
          FOR EACH ROW EXECUTE FUNCTION exzo.note_change(\(key));
        CREATE TRIGGER journal_updates AFTER UPDATE ON exzo.\(table)
          FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
          EXECUTE FUNCTION exzo.note_change(\(key));
        """)
    }
  }
}
