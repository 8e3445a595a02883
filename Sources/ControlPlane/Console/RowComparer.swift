import APITypes
import Catalog
import Foundation
import PostgresClient

extension QueryService {
  /// Rows above this many are not compared.
  private static let mostRows = 20_000
  /// Differences above this many are counted only.
  private static let mostShown = 200

  /// Compares a table's rows at a moment with those of now, by primary key.
  /// - Parameter table: `schema.name`, or a name alone, as SQL writes them.
  public func compareRows(
    of table: String, _ request: API.QueryRequest, branch: BranchID, project: ProjectID,
    account: AccountID, from address: String
  ) async throws -> API.RowComparison {
    guard request.lsn != nil || request.timestamp != nil else {
      throw ControlPlaneError(
        .badValue, "'lsn' or 'timestamp' is required: rows are compared with those of now")
    }
    var present = request
    (present.lsn, present.timestamp) = (nil, nil)
    let past = try await on(
      try await parameters(request, branch, project, account, from: address)
    ) {
      try TableRows.read(table, $0, limit: Self.mostRows)
    }
    guard let past else {
      throw ControlPlaneError(
        .tableNotFound, "compare rows of '\(table)': there is no such table at the moment")
    }
    let now = try await on(
      try await parameters(present, branch, project, account, from: address)
    ) {
      try TableRows.read(table, $0, limit: Self.mostRows, like: past.keyColumns)
    }
    return past.compared(with: now, name: table, mostShown: Self.mostShown)
  }
}

/// A table's rows as JSON, by key.
struct TableRows: Sendable {
  var keyColumns: [String]
  /// Key and row.
  var rows: [String: String]
  var isTruncated: Bool

  /// - Parameter keys: columns to take as key in place of the table's own.
  /// - Returns: `nil` where there is no such table.
  static func read(
    _ table: String, _ connection: PostgresConnection, limit: Int, like keys: [String]? = nil
  ) throws -> TableRows? {
    let found = try connection.query(
      """
      SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, (
        SELECT json_agg(a.attname ORDER BY k.place)::text FROM pg_catalog.pg_index AS i
        CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
        WHERE i.indrelid = c.oid AND i.indisprimary) AS keys
      FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
      WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p', 'm', 'v')
      """, parameters: [.text(table)]
    ).first
    guard let found else { return nil }
    let own = try found.optional("keys", as: String.self).map { text in
      try APICoding.decode([String].self, from: Data(text.utf8))
    }
    let columns = keys ?? own ?? []
    let key =
      columns.isEmpty
      ? "to_jsonb(t)"
      : "jsonb_build_array("
        + (try columns.map { "t.\(try SQL.identifier($0))" }.joined(separator: ", ")) + ")"
    let result = try connection.query(
      "SELECT \(key)::text AS k, to_jsonb(t)::text AS r FROM \(try found.value("name", as: String.self)) AS t ORDER BY 1 LIMIT \(limit + 1)"
    )
    var rows: [String: String] = [:]
    for row in result.rows.prefix(limit) { rows[row[0] ?? ""] = row[1] ?? "" }
    return TableRows(keyColumns: columns, rows: rows, isTruncated: result.rowCount > limit)
  }

  func compared(
    with now: TableRows?, name: String, mostShown: Int
  ) -> API.RowComparison {
    var differences: [API.RowComparison.Row] = []
    var (removed, added, changed) = (0, 0, 0)
    let present = now?.rows ?? [:]
    for key in Set(rows.keys).union(present.keys).sorted() {
      let change: String
      switch (rows[key], present[key]) {
      case (.some, nil): (change, removed) = ("removed", removed + 1)
      case (nil, .some): (change, added) = ("added", added + 1)
      case (let then, let now) where then != now: (change, changed) = ("changed", changed + 1)
      default: continue
      }
      guard differences.count < mostShown else { continue }
      differences.append(
        API.RowComparison.Row(change: change, key: key, then: rows[key], now: present[key]))
    }
    return API.RowComparison(
      table: name, keyColumns: keyColumns, isThereNow: now != nil, rowsThen: rows.count,
      rowsNow: present.count, removed: removed, added: added, changed: changed,
      isTruncated: isTruncated || now?.isTruncated == true, rows: differences)
  }
}
