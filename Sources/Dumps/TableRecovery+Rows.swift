import ControlPlane
import Foundation
import PostgresClient

extension TableRecovery {
  /// Puts rows of the past that are missing into the table that is there, and leaves the others as they are.
  ///
  /// One transaction. Rows whose key is there stay; rows that something else than the key keeps out (another unique
  /// index, an exclusion constraint, a foreign key) are counted and named. The table's triggers do not fire, so that
  /// rows come back as they were; foreign keys are checked.
  func bringRows(
    _ table: PastTable, _ before: PostgresConnection, _ now: PostgresConnection,
    _ transfer: RowTransfer, _ role: RestoreRole
  ) throws -> [String] {
    let qualified = try table.qualified
    let current = try PastTable(
      TableName("\(SQL.identifier(table.schema)).\(SQL.identifier(table.name))"), now)
    let key = try RowKey(table, before, current, now)
    let shared = table.columns.filter { current.columns.contains($0) }
    let triggers = try FiringTriggers(current, now)
    let sequences = try OwnedSequences(of: current, now)
    let script = try script(role)
    defer { script.abandon() }
    let source = try transfer.connection()
    defer { source.close() }
    let columns = try shared.map { try SQL.identifier($0) }.joined(separator: ", ")
    try script.write(
      "CREATE TEMP TABLE exzo_rows AS SELECT \(columns) FROM \(qualified) WITH NO DATA;\n"
        + "CREATE TEMP TABLE exzo_kept (place tid, reason text);\n")
    let only = table.isPartitioned ? "" : "ONLY "
    let found = try transfer.copy(
      columns, of: "\(only)\(qualified)", from: source, into: "pg_temp.exzo_rows", to: script)
    // Checks and defaults may name things by the database's own path.
    try script.write("SET LOCAL search_path TO DEFAULT;\n" + triggers.disabling)
    try script.write("SET CONSTRAINTS ALL IMMEDIATE;\n")
    try script.write(
      "DO LANGUAGE plpgsql \(SQL.literal(try Self.insertion(qualified, shared, key)));\n")
    try script.write(triggers.enabling + "SET LOCAL search_path = pg_catalog;\n")
    try script.noteRows(
      "current_setting('exzo.came') || ' of \(found) rows that met the condition were missing and came back'",
      "")
    try Self.noteKept(key, script)
    try sequences.note(columns: shared, in: script)
    try script.write(RestoreRole.marking)
    let left = Set(table.columns).subtracting(shared).sorted()
    return try script.commit()
      + left.map { "column '\($0)' of then is not in the table any more: it was left out" }
      + triggers.names.map { "trigger '\($0)' did not fire: rows came back as they were" }
      + table.remarks(before, ofRows: true)
  }

  /// Inserts the rows at once; where something but the key keeps one out, one by one, as often as that brings more:
  /// rows may refer to each other.
  private static func insertion(
    _ qualified: String, _ columns: [String], _ key: RowKey
  ) throws -> String {
    let names = try columns.map { try SQL.identifier($0) }
    let insert = """
      INSERT INTO \(qualified) (\(names.joined(separator: ", "))) OVERRIDING SYSTEM VALUE
            SELECT \(names.map { "exzo_source.\($0)" }.joined(separator: ", "))
            FROM pg_temp.exzo_rows AS exzo_source
      """
    let ending = "ON CONFLICT (\(try key.list)) DO NOTHING;"
    return """
      #variable_conflict use_column
      DECLARE
        exzo_came bigint := 0; exzo_count bigint; exzo_place tid; exzo_reason text;
        exzo_goes_on boolean := true;
      BEGIN
        BEGIN
          \(insert) \(ending)
          GET DIAGNOSTICS exzo_came = ROW_COUNT;
        EXCEPTION WHEN unique_violation OR exclusion_violation OR foreign_key_violation THEN
          INSERT INTO pg_temp.exzo_kept (place) SELECT r.ctid FROM pg_temp.exzo_rows AS r;
          WHILE exzo_goes_on LOOP
            exzo_goes_on := false;
            FOR exzo_place IN SELECT k.place FROM pg_temp.exzo_kept AS k LOOP
              BEGIN
                \(insert) WHERE exzo_source.ctid = exzo_place \(ending)
                GET DIAGNOSTICS exzo_count = ROW_COUNT;
                exzo_came := exzo_came + exzo_count;
                exzo_goes_on := exzo_goes_on OR exzo_count > 0;
                DELETE FROM pg_temp.exzo_kept AS k WHERE k.place = exzo_place;
              EXCEPTION WHEN unique_violation OR exclusion_violation OR foreign_key_violation THEN
                GET STACKED DIAGNOSTICS exzo_reason = CONSTRAINT_NAME;
                exzo_reason := CASE SQLSTATE WHEN '23505' THEN 'unique index'
                  WHEN '23503' THEN 'foreign key' ELSE 'exclusion constraint' END
                  || ' ''' || exzo_reason || '''';
                UPDATE pg_temp.exzo_kept AS k SET reason = exzo_reason WHERE k.place = exzo_place;
              END;
            END LOOP;
          END LOOP;
        END;
        PERFORM pg_catalog.set_config('exzo.came', exzo_came::text, true);
      END
      """
  }

  /// Keys of rows that are named for each reason.
  private static let namedKeys = 5

  private static func noteKept(_ key: RowKey, _ script: RestoreScript) throws {
    let row = try key.columns.map { "r.\(try SQL.identifier($0))" }.joined(separator: ", ")
    let columns = try SQL.literal(key.columns.joined(separator: ", "))
    try script.noteRows(
      """
      count(*) || ' rows are missing still, kept out by ' || k.reason || ': (' || \(columns) || ') = '
        || array_to_string((array_agg(ROW(\(row))::text ORDER BY k.place))[1:\(namedKeys)], ', ')
        || CASE WHEN count(*) > \(namedKeys) THEN ', ...' ELSE '' END
      """,
      """
      FROM pg_temp.exzo_kept AS k JOIN pg_temp.exzo_rows AS r ON r.ctid = k.place
      GROUP BY k.reason ORDER BY k.reason
      """)
  }
}

/// Columns that tell a table's rows apart, then and now.
struct RowKey {
  let columns: [String]

  var list: String {
    get throws { try columns.map { try SQL.identifier($0) }.joined(separator: ", ") }
  }

  /// The primary key, else the oldest unique index that serves.
  /// - Throws: ``DumpError`` saying why no unique index does.
  init(
    _ past: PastTable, _ before: PostgresConnection, _ current: PastTable, _ now: PostgresConnection
  ) throws {
    let indexes = try UniqueIndex.all(of: current, now)
    let then = Set(
      try UniqueIndex.all(of: past, before).filter { $0.flaw == nil }.map { Set($0.columns) })
    let writable = Set(current.columns).intersection(past.columns)
    let fit = indexes.first {
      $0.flaw == nil && then.contains(Set($0.columns)) && writable.isSuperset(of: $0.columns)
    }
    if let fit {
      columns = fit.columns
      return
    }
    let reasons = indexes.map {
      "'\($0.name)' \($0.flaw ?? "is on columns that were no key at the moment")"
    }
    throw DumpError(
      "recover rows of '\(past.schema).\(past.name)': rows that are there cannot be told from those that are "
        + "missing: "
        + (reasons.isEmpty
          ? "it has no primary key and no unique index"
          : "no unique index of it serves as key: \(reasons.joined(separator: ", "))"),
      hint: "name a new table with 'as'")
  }
}

/// A unique index, and why its columns do not tell every row from every other at any time.
struct UniqueIndex {
  let name: String
  let columns: [String]
  let flaw: String?

  /// The primary key first.
  static func all(
    of table: PastTable, _ connection: PostgresConnection
  ) throws -> [UniqueIndex] {
    try connection.query(
      """
      SELECT c.relname, coalesce(k.columns, '[]') AS columns, CASE
        WHEN NOT i.indisvalid OR NOT i.indisready THEN 'is not valid'
        WHEN i.indpred IS NOT NULL THEN 'is partial'
        WHEN i.indexprs IS NOT NULL THEN 'is on an expression'
        WHEN NOT i.indimmediate THEN 'is deferrable'
        WHEN k.is_nullable THEN 'has a column that may be NULL' END AS flaw
      FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
      CROSS JOIN LATERAL (SELECT json_agg(a.attname ORDER BY u.number)::text AS columns,
          bool_or(NOT a.attnotnull) AS is_nullable
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (attribute, number)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.attribute
        WHERE u.number <= i.indnkeyatts) AS k
      WHERE i.indrelid = $1::oid AND i.indisunique ORDER BY i.indisprimary DESC, i.indexrelid
      """, parameters: [.text(table.oid)]
    ).rows.map { row in
      UniqueIndex(
        name: try row.value("relname"),
        columns: try JSONDecoder().decode(
          [String].self, from: Data(try row.value("columns", as: String.self).utf8)),
        flaw: try row.optional("flaw"))
    }
  }
}

/// Triggers of a table and its partitions that would fire for rows that come back and change them.
///
/// They are switched off in the transaction that brings the rows, by the tables' owners' delegate; nobody else sees
/// them off, and whoever writes to the table waits for its end. Foreign keys are not among them.
struct FiringTriggers {
  private(set) var names: [String] = []
  private(set) var disabling = ""
  private(set) var enabling = ""

  /// How long the tables are waited for, while others that write to them wait behind.
  private static let patience = "60s"

  init(_ table: PastTable, _ connection: PostgresConnection) throws {
    let rows = try connection.query(
      """
      SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text AS state,
        t.tgparentid <> 0 AS is_copy
      FROM (SELECT relid FROM pg_partition_tree($1::oid) UNION SELECT $1::oid) AS p
      JOIN pg_trigger AS t ON t.tgrelid = p.relid JOIN pg_class AS c ON c.oid = t.tgrelid
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 4 <> 0
      ORDER BY c.oid, t.oid
      """, parameters: [.text(table.oid)]
    ).rows
    for row in rows {
      let place = try
        "\(SQL.identifier(row.value("nspname"))).\(SQL.identifier(row.value("relname")))"
      let trigger: String = try row.value("tgname")
      let name = try SQL.identifier(trigger)
      let enable = row["state"] == "A" ? "ENABLE ALWAYS" : "ENABLE"
      disabling += "ALTER TABLE ONLY \(place) DISABLE TRIGGER \(name);\n"
      enabling += "ALTER TABLE ONLY \(place) \(enable) TRIGGER \(name);\n"
      if try !row.value("is_copy", as: Bool.self) { names.append(trigger) }
    }
    if !rows.isEmpty { disabling = "SET LOCAL lock_timeout = '\(Self.patience)';\n" + disabling }
  }
}
