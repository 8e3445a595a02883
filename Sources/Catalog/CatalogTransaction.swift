import PostgresClient

/// The catalog within one transaction. Valid during the closure that received it; blocks its
/// thread.
public struct CatalogTransaction {
  let connection: PostgresConnection

  /// Adds a row and returns it as stored.
  /// - Throws: ``CatalogError`` `.duplicate`.
  @discardableResult
  public func insert<Record: CatalogRecord>(_ record: Record) throws -> Record {
    let columns = Record.columns.joined(separator: ", ")
    let result = try run(
      """
      INSERT INTO exzo.\(Record.table) AS t (\(columns))
      SELECT \(columns) FROM jsonb_populate_record(NULL::exzo.\(Record.table), $1::jsonb)
      RETURNING to_jsonb(t)
      """, .text(try RecordCoding.json(record)))
    guard let row = result.first else {
      throw CatalogError(.missing, "insert into '\(Record.table)': no row came back")
    }
    return try RecordCoding.record(row)
  }

  /// Writes all columns of a row that is there.
  /// - Throws: ``CatalogError`` `.missing`, `.duplicate`.
  public func update<Record: CatalogRecord>(_ record: Record) throws {
    let columns = Record.columns.joined(separator: ", ")
    let match = Record.key.map { "t.\($0) = n.\($0)" }.joined(separator: " AND ")
    let values = Record.columns.map { "n.\($0)" }.joined(separator: ", ")
    let result = try run(
      """
      UPDATE exzo.\(Record.table) AS t SET (\(columns)) = ROW(\(values))
      FROM jsonb_populate_record(NULL::exzo.\(Record.table), $1::jsonb) AS n WHERE \(match)
      """, .text(try RecordCoding.json(record)))
    guard result.rowsAffected == 1 else {
      throw CatalogError(.missing, "update '\(Record.table)': the row is gone")
    }
  }

  /// The rows that match `condition`, which refers to the row as `t`.
  func select<Record: CatalogRecord>(
    _ type: Record.Type = Record.self, where condition: String, _ parameters: PostgresValue?...
  ) throws -> [Record] {
    try select(type, where: condition, parameters: parameters)
  }

  /// The first of the rows that match `condition`.
  func first<Record: CatalogRecord>(
    _ type: Record.Type = Record.self, where condition: String, _ parameters: PostgresValue?...
  ) throws -> Record? {
    try select(type, where: condition, parameters: parameters).first
  }

  func select<Record: CatalogRecord>(
    _ type: Record.Type = Record.self, where condition: String, parameters: [PostgresValue?]
  ) throws -> [Record] {
    let sql = "SELECT to_jsonb(t) FROM exzo.\(Record.table) AS t WHERE \(condition)"
    return try connection.query(sql, parameters: parameters).rows.map(RecordCoding.record)
  }

  /// Runs a statement; a broken unique constraint becomes `.duplicate`.
  @discardableResult
  func run(_ sql: String, _ parameters: PostgresValue?...) throws -> PostgresResult {
    do {
      return try connection.query(sql, parameters: parameters)
    } catch let error as PostgresError where error.sqlState == "23505" {
      throw CatalogError(error, doing: "write metadata")
    }
  }

  /// The one number that `sql` answers.
  func number(_ sql: String, _ parameters: PostgresValue?...) throws -> Int {
    guard let text = try connection.query(sql, parameters: parameters).first?[0],
      let value = Int(text)
    else { throw CatalogError(.undecodable, "read metadata: a number was expected") }
    return value
  }
}

extension CatalogTransaction {
  /// A setting of the installation.
  public func setting(_ name: String) throws -> String? {
    try run("SELECT value FROM exzo.settings WHERE name = $1", .text(name)).first?[0]
  }

  public func set(_ name: String, to value: String) throws {
    try run(
      """
      INSERT INTO exzo.settings (name, value) VALUES ($1, $2)
      ON CONFLICT (name) DO UPDATE SET value = excluded.value
      """, .text(name), .text(value))
  }
}
