import ControlPlane
import Foundation
import PostgresClient

/// Adds up what a database holds; blocks its thread.
///
/// A table's hash is the sum of two 64-bit hashes (`hashtextextended`, two seeds) of each row's text:
/// the same in whatever order the rows come, and different where one byte of one column is.
struct ContentsRead {
  let tools: PostgresDumpTools
  let compute: RunningCompute
  let database: String
  let directory: String

  private static let notExtension = """
    NOT EXISTS (SELECT 1 FROM pg_depend AS e WHERE e.classid = 'pg_class'::regclass
      AND e.objid = c.oid AND e.deptype = 'e')
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    """

  func run() throws -> DatabaseContents {
    let connection = try tools.connect(compute, database)
    defer { connection.close() }
    try connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    var contents = try Self.contents(in: connection)
    try connection.execute("COMMIT")
    let (text, privileged) = try schema(try ServerTrust(connection, presentIsFine: false))
    contents.schema = text
    contents.notes += privileged.notes
    for name in try privileged.relations {
      contents.tables[name] = nil
      contents.sequences[name] = nil
    }
    return contents
  }

  /// All but the schema, within the connection's transaction, of which settings are changed.
  static func contents(in connection: PostgresConnection) throws -> DatabaseContents {
    // Text that depends on settings of the database or the role.
    try connection.execute(
      """
      SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres';
      SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex';
      SET LOCAL xmlbinary = 'base64'; SET LOCAL lc_monetary = 'C'; SET LOCAL search_path = '';
      """)
    var contents = DatabaseContents(
      tables: [:], sequences: [:], largeObjects: try largeObjects(connection), schema: "")
    try tables(connection, &contents)
    try sequences(connection, &contents)
    return contents
  }

  /// Tables whose rows lie in other partitions after a restore: the hash of an enumeration's value is that of its
  /// OID, and `pg_dump` lets the rows find their place anew. They are compared as one table each.
  private static let scattered = """
    WITH hashed AS MATERIALIZED (
      SELECT p.partrelid AS root FROM pg_partitioned_table AS p WHERE p.partstrat = 'h' AND EXISTS (
        SELECT FROM pg_opclass AS o WHERE o.oid = ANY (p.partclass) AND o.opcname = 'enum_ops')),
    roots AS MATERIALIZED (
      SELECT h.root FROM hashed AS h WHERE NOT EXISTS (
        SELECT FROM pg_partition_ancestors(h.root) AS a JOIN hashed AS o ON o.root = a.relid
        WHERE a.relid <> h.root)
      -- Rows that lie on another server are not compared.
      AND NOT EXISTS (SELECT FROM pg_partition_tree(h.root) AS t JOIN pg_class AS f ON f.oid = t.relid
        WHERE f.relkind = 'f')),
    scattered AS MATERIALIZED (
      SELECT t.relid FROM roots AS r, pg_partition_tree(r.root) AS t WHERE t.relid <> r.root)
    """

  /// What `pg_partition_tree` needs came with 12; before, nothing is taken together.
  private static let nothingScattered = """
    WITH roots AS (SELECT oid AS root FROM pg_class WHERE false),
    scattered AS (SELECT oid AS relid FROM pg_class WHERE false)
    """

  private static func tables(
    _ connection: PostgresConnection, _ contents: inout DatabaseContents
  ) throws {
    let scattered = connection.serverVersion >= 120_000 ? Self.scattered : nothingScattered
    let rows = try connection.query(
      """
      \(scattered)
      SELECT n.nspname, c.relname, c.relkind::text AS kind, c.relpersistence::text AS persistence,
        CASE WHEN NOT c.relispartition AND EXISTS (
          SELECT FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
        THEN (SELECT coalesce(string_agg('r.' || quote_ident(a.attname), ', ' ORDER BY a.attname), '')
          FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
        END AS columns
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
      WHERE (c.relkind IN ('r', 'm', 'f') AND c.oid NOT IN (SELECT relid FROM scattered)
        OR c.oid IN (SELECT root FROM roots)) AND \(notExtension) ORDER BY c.oid
      """
    ).rows
    var skipped: [String: Int] = [:]
    for row in rows {
      let (schema, name): (String, String) = try (row.value("nspname"), row.value("relname"))
      let qualified = "\(try SQL.identifier(schema)).\(try SQL.identifier(name))"
      if let reason = try Self.skipped(row) {
        skipped[reason, default: 0] += 1
        continue
      }
      let isWhole = try row.value("kind", as: String.self) == "p"
      // Columns that a parent got later stand elsewhere in a child that is made anew.
      contents.tables[qualified] = try table(
        "\(isWhole ? "" : "ONLY ")\(qualified)",
        row: row["columns"].map { "ROW(\($0))" } ?? "(r.*)", connection)
    }
    contents.notes += skipped.sorted { $0.key < $1.key }.map {
      "content not compared of \($0.value) \($0.key)"
    }
  }

  private static func skipped(_ row: PostgresRow) throws -> String? {
    switch (try row.value("kind", as: String.self), try row.value("persistence", as: String.self)) {
    case ("m", _): "materialized view(s): they are filled anew"
    case ("f", _): "foreign table(s): their rows are elsewhere"
    case (_, "u"): "unlogged table(s): the history holds none of their rows"
    case (_, "t"): "temporary table(s)"
    default: nil
    }
  }

  private static func table(
    _ source: String, row text: String, _ connection: PostgresConnection
  ) throws -> DatabaseContents.Table {
    let row = try connection.query(
      """
      SELECT count(*)::text AS rows,
        coalesce(sum(hashtextextended(\(text)::text, 0)::numeric), 0)::text || '/'
        || coalesce(sum(hashtextextended(\(text)::text, 1)::numeric), 0)::text AS hash
      FROM \(source) AS r
      """
    ).first
    guard let row else { throw DumpError("read table \(source): the server answered nothing") }
    return DatabaseContents.Table(
      rows: try row.value("rows", as: Int.self), hash: try row.value("hash"))
  }

  private static func sequences(
    _ connection: PostgresConnection, _ contents: inout DatabaseContents
  ) throws {
    let rows = try connection.query(
      """
      SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n
      ON n.oid = c.relnamespace
      WHERE c.relkind = 'S' AND c.relpersistence = 'p' AND \(notExtension) ORDER BY c.oid
      """
    ).rows
    for row in rows {
      let qualified =
        "\(try SQL.identifier(row.value("nspname")))."
        + "\(try SQL.identifier(row.value("relname")))"
      let value = try connection.query(
        "SELECT last_value::text || CASE WHEN is_called THEN ' used' ELSE ' unused' END "
          + "FROM \(qualified)"
      ).first?[0]
      contents.sequences[qualified] = value ?? ""
    }
  }

  private static func largeObjects(
    _ connection: PostgresConnection
  ) throws -> DatabaseContents.Table {
    let row = try connection.query(
      """
      SELECT count(*)::text AS rows, coalesce(sum(hashtextextended(
        m.oid::text || ' ' || md5(lo_get(m.oid)), 0)::numeric), 0)::text AS hash
      FROM pg_largeobject_metadata AS m
      """
    ).first
    return DatabaseContents.Table(
      rows: try row?.value("rows", as: Int.self) ?? 0, hash: try row?.value("hash") ?? "")
  }

  /// The statements that an ordinary role can run, and what they leave out.
  private func schema(_ server: ServerTrust) throws -> (String, PrivilegedEntries) {
    let archive = try tools.schemaArchive(of: database, on: compute, in: directory)
    let privileged = PrivilegedEntries(try RestoreRun.contents(archive, .custom), server)
    let (list, output) = ("\(directory)/schema.list", "\(directory)/schema.sql")
    try Data(privileged.kept.map { "\($0.id);\n" }.joined().utf8)
      .write(to: URL(fileURLWithPath: list))
    let restore = try ChildProgram(
      "\(tools.binaries)/pg_restore", ["--file", output, "--use-list", list, archive],
      errors: "\(directory)/schema.err")
    try restore.check("read the schema of '\(database)'")
    let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: output)), as: UTF8.self)
    return (Self.schemaText(text), privileged)
  }

  /// What `pg_dump` wrote, without what differs each time and between servers of one version.
  static func schemaText(_ dump: String) -> String { SchemaService.withoutKey(dump) }
}
