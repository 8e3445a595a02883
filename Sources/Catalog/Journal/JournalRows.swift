import PostgresClient

/// What is read of the metadata database for the journal, within one transaction.
struct JournalRows {
  let connection: PostgresConnection

  /// Changes that are not stored yet.
  struct Pending: Sendable {
    /// Of the rows, for ``JournalRows/forget(_:)``.
    var ids: [String] = []
    var lines: [String] = []
    var header: JournalHeader
  }

  func pending(at time: Double) throws -> Pending {
    let rows = try connection.query(
      """
      SELECT id, jsonb_build_object('table', table_name, 'operation', operation, 'key', key,
        'row', row)::text AS line
      FROM exzo.journal_changes ORDER BY id
      """
    ).rows
    var pending = Pending(header: try header(at: time))
    for row in rows {
      pending.ids.append(try row.value("id", as: String.self))
      pending.lines.append(try row.value("line", as: String.self))
    }
    return pending
  }

  /// Every row of every table, a line each.
  func everything(at time: Double) throws -> (header: JournalHeader, lines: [String]) {
    var lines: [String] = []
    for table in try tables() {
      let rows = try connection.query(
        """
        SELECT jsonb_build_object('table', \(try SQL.literal(table))::text, 'row',
          to_jsonb(t))::text FROM exzo.\(try SQL.identifier(table)) AS t
        """
      ).rows
      for row in rows { if let line = row[0] { lines.append(line) } }
    }
    return (try header(at: time), lines)
  }

  /// Takes back the notes of changes that are stored.
  func forget(_ ids: [String]) throws {
    try connection.query(
      "DELETE FROM exzo.journal_changes WHERE id = ANY ($1::bigint[])",
      parameters: [.text("{" + ids.joined(separator: ",") + "}")])
  }

  func tables() throws -> [String] {
    try connection.query(
      """
      SELECT c.relname FROM pg_class c
      WHERE c.relnamespace = 'exzo'::regnamespace AND c.relkind = 'r'
        AND \(JournalTriggers.isJournaled) ORDER BY c.relname
      """
    ).rows.map { try $0.value("relname", as: String.self) }
  }

  private func header(at time: Double) throws -> JournalHeader {
    let migrations = try connection.query("SELECT number FROM exzo.migrations ORDER BY number").rows
    let sequences = try connection.query(
      """
      SELECT sequencename, last_value FROM pg_sequences
      WHERE schemaname = 'exzo' AND sequencename !~ '^journal_' AND last_value IS NOT NULL
      """
    ).rows
    return JournalHeader(
      madeAt: time, migrations: try migrations.map { try $0.value("number", as: Int.self) },
      sequences: Dictionary(
        uniqueKeysWithValues: try sequences.map {
          (
            try $0.value("sequencename", as: String.self),
            try $0.value("last_value", as: Int64.self)
          )
        }))
  }
}
