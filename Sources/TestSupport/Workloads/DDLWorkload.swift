import Foundation

/// Tables, columns, indexes, views, functions and types made, changed and dropped.
///
/// The shape that each table must have is written down by the transaction that gives it that shape.
public struct DDLWorkload: Workload {
  public let name = "ddl"
  public init() {}

  public let preparation =
    "CREATE TABLE shape (name text PRIMARY KEY, rows bigint, columns int, indexes int)"

  public let checks = [
    ConsistencyCheck(
      "every table written down exists, and no other",
      """
      SELECT count(*) = 0 FROM shape AS s FULL JOIN (SELECT relname FROM pg_class
        WHERE relnamespace = 'ddl'::regnamespace AND relkind = 'r' AND relname LIKE 't\\_%') AS c
        ON s.name = c.relname WHERE s.name IS NULL OR c.relname IS NULL
      """),
    ConsistencyCheck(
      "every table has its columns, indexes and rows",
      """
      SELECT coalesce(bool_and(
        columns = (SELECT count(*) FROM pg_attribute WHERE attrelid = name::regclass
          AND attnum > 0 AND NOT attisdropped)
        AND indexes = (SELECT count(*) FROM pg_index WHERE indrelid = name::regclass)
        AND rows = (xpath('/row/n/text()', query_to_xml(format(
          'SELECT count(*) AS n FROM %I', name), false, true, '')))[1]::text::bigint), true) FROM shape
      """),
    ConsistencyCheck(
      "every view answers with its table's rows",
      """
      SELECT coalesce(bool_and(rows = (xpath('/row/n/text()', query_to_xml(format(
        'SELECT count(*) AS n FROM %I', 'v' || substr(name, 2)), false, true, '')))[1]::text::bigint), true)
      FROM shape WHERE to_regclass('v' || substr(name, 2)) IS NOT NULL
      """),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let table = "t_\(step.worker)_\(step.random.pick(1...12))"
    let exists =
      try step.session.execute("SELECT count(*) FROM shape WHERE name = '\(table)'") == ["1"]
    guard exists else { return try step.commit(creation(of: table, &step.random)) }
    try step.commit(change(of: table, &step.random))
  }

  private func creation(of table: String, _ random: inout SeededRandom) -> String {
    let rows = random.pick(0...2000)
    let view = table.replacingOccurrences(of: "t_", with: "v_")
    return """
      CREATE TABLE \(table) (id int PRIMARY KEY, body text, made timestamptz DEFAULT now());
      INSERT INTO \(table) SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, \(rows)) AS n;
      CREATE VIEW \(view) AS SELECT id FROM \(table);
      INSERT INTO shape VALUES ('\(table)', \(rows), 3, 1)
      """
  }

  private func change(of table: String, _ random: inout SeededRandom) -> String {
    let tag = random.pick(1...1_000_000_000)
    let name = "name = '\(table)'"
    switch random.pick(1...8) {
    case 1:
      return "DROP TABLE \(table) CASCADE; DELETE FROM shape WHERE \(name)"
    case 2:
      return "ALTER TABLE \(table) ADD COLUMN c\(tag) int DEFAULT \(tag);"
        + "UPDATE shape SET columns = columns + 1 WHERE \(name)"
    case 3:  // a volatile default rewrites the table
      return "ALTER TABLE \(table) ADD COLUMN c\(tag) float8 DEFAULT random();"
        + "UPDATE shape SET columns = columns + 1 WHERE \(name)"
    case 4:
      return "CREATE INDEX i\(tag) ON \(table) (body, id);"
        + "UPDATE shape SET indexes = indexes + 1 WHERE \(name)"
    case 5:
      return """
        CREATE TYPE y\(tag) AS ENUM ('a', 'b'); CREATE FUNCTION f\(tag)() RETURNS int LANGUAGE sql
        AS 'SELECT 1'; DROP FUNCTION f\(tag)(); DROP TYPE y\(tag)
        """
    case 6:  // an aborted creation whose files must go
      return """
        SAVEPOINT s; CREATE TABLE gone\(tag) AS SELECT generate_series(1, 500) AS n;
        ALTER TABLE \(table) ADD COLUMN lost int; ROLLBACK TO s
        """
    case 7:
      return "ALTER TABLE \(table) ALTER COLUMN body TYPE varchar(\(random.pick(200...400)))"
        + " USING body::varchar; ANALYZE \(table)"
    default:
      return """
        WITH d AS (DELETE FROM \(table) WHERE id % 7 = \(tag % 7) RETURNING 1)
        UPDATE shape SET rows = rows - (SELECT count(*) FROM d) WHERE \(name)
        """
    }
  }
}
