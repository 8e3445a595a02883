import ControlPlane
import Foundation
import PostgresClient

/// Hands rows of a past moment over to a script that puts them into a running database, value by value the same.
///
/// Both sessions write and read values alike, whatever the settings of their databases: as `pg_dump` does it
/// (``ConnectionParameters/platformOptions``), with names of relations, types and functions in full, and amounts of money
/// without a country's signs.
struct RowTransfer {
  let recovery: TableRecovery
  /// Owns nothing of the past and is a member of all owners; row security does not hold it.
  let reader: RestoreRole
  /// Of the text on its way.
  let encoding: String

  /// Of a database that does not know what its bytes mean.
  static let plainBytes = "SQL_ASCII"
  private static let view = "pg_temp.exzo_rows_then"

  /// What both databases take without a loss: their own encoding where they share it, or bytes as they are.
  static func encoding(
    _ before: PostgresConnection, _ now: PostgresConnection
  ) throws -> String {
    let both = [try encoding(of: before), try encoding(of: now)]
    if both[0] == both[1] { return both[0] }
    return both.contains(plainBytes) ? plainBytes : "UTF8"
  }

  /// What programs write a database's names and definitions in: UTF-8, or bytes as they are.
  static func readable(_ encoding: String) -> String { encoding == plainBytes ? encoding : "UTF8" }

  static func encoding(of connection: PostgresConnection) throws -> String {
    try connection.query("SHOW server_encoding").first?.value("server_encoding") ?? "UTF8"
  }

  /// The rows of one table, as the owners' delegate reads them; returns how many.
  func copy(
    _ leaf: RenamedTable.Leaf, of former: String, to script: RestoreScript
  ) throws -> Int {
    let source = try connection()
    defer { source.close() }
    // A condition may call the table by the name that it had.
    let rows = "ONLY \(leaf.qualified) AS \(try SQL.identifier(former))"
    guard !leaf.columns.isEmpty else {
      let count = try count(rows, source)
      try script.write(
        "INSERT INTO \(leaf.qualified) SELECT FROM generate_series(1, \(count));\n")
      return count
    }
    let columns = try leaf.columns.map { try SQL.identifier($0) }.joined(separator: ", ")
    return try copy(columns, of: rows, from: source, into: leaf.qualified, to: script)
  }

  /// A session of the reader's, with the search path that the database had.
  func connection() throws -> PostgresConnection {
    let past = recovery.past
    return try PostgresConnection(
      ConnectionParameters(
        host: past.socketDirectory, port: past.port, user: reader.name, password: reader.password,
        database: recovery.order.database, applicationName: "exzo-recover",
        options: ConnectionParameters.platformOptions))
  }

  /// The rows that meet the condition, which nobody but the reader's role evaluates.
  /// The script's search path is empty afterwards.
  /// - Parameters:
  ///   - columns: names for SQL, of what is read and of `target`.
  ///   - table: what follows FROM.
  func copy(
    _ columns: String, of table: String, from source: PostgresConnection, into target: String,
    to script: RestoreScript
  ) throws -> Int {
    var count = 0
    try script.write(
      "SET LOCAL search_path = '';\nSET LOCAL lc_monetary = 'C';\n"
        + "COPY \(target) (\(columns)) FROM stdin (ENCODING '\(encoding)');\n")
    try naming {
      // Names in the condition are found by the database's own path; those in the rows are whole.
      try source.query("CREATE TEMP VIEW \(Self.view) AS SELECT \(columns) FROM \(table)\(filter)")
      try source.query("SET search_path = ''")
      try source.query("SET lc_monetary = 'C'")
      try source.copyOut("COPY (SELECT * FROM \(Self.view)) TO STDOUT (ENCODING '\(encoding)')") {
        count += 1
        try script.write($0)
      }
    }
    try script.write("\\.\nSET LOCAL lc_monetary TO DEFAULT;\n")
    return count
  }

  private func count(_ table: String, _ source: PostgresConnection) throws -> Int {
    try naming {
      try source.query("SELECT count(*)::text AS count FROM \(table)\(filter)").first?
        .value("count") ?? 0
    }
  }

  /// A comment in the condition ends with its line.
  private var filter: String { recovery.order.condition.map { " WHERE (\($0)\n)" } ?? "" }

  private func naming<Value>(_ body: () throws -> Value) throws -> Value {
    do {
      return try body()
    } catch let error as PostgresError
      where error.code == .server && recovery.order.condition != nil
    {
      throw DumpError(
        "recover rows of '\(recovery.order.table)': the condition cannot be evaluated: "
          + error.message, hint: "'where' takes what stands behind WHERE in SQL")
    }
  }
}
