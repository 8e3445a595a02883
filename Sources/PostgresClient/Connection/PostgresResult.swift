import CLibpq

/// What one statement answered; a copy that outlives the connection.
public struct PostgresResult: Sendable {
  /// Column names in order; two may be equal.
  public let columns: [String]
  /// Type OIDs of the columns (`pg_type.oid`).
  public let columnTypes: [UInt32]
  /// What was done, such as `INSERT 0 5`; empty for an empty statement.
  public let commandTag: String
  /// Rows inserted, updated, deleted, selected or copied; 0 for other statements.
  public let rowsAffected: Int
  public let rowCount: Int
  fileprivate let cells: [Range<Int>?]
  fileprivate let bytes: [UInt8]

  /// Copies a libpq result, which stays the caller's to clear.
  init(_ result: OpaquePointer) {
    let width = Int(PQnfields(result))
    let height = Int(PQntuples(result))
    columns = (0..<width).map { PQfname(result, Int32($0)).map { String(cString: $0) } ?? "" }
    columnTypes = (0..<width).map { PQftype(result, Int32($0)) }
    commandTag = String(cString: PQcmdStatus(result))
    rowsAffected = Int(String(cString: PQcmdTuples(result))) ?? 0
    rowCount = height
    var cells: [Range<Int>?] = []
    cells.reserveCapacity(width * height)
    var bytes: [UInt8] = []
    for row in 0..<Int32(height) {
      for column in 0..<Int32(width) {
        guard PQgetisnull(result, row, column) == 0, let value = PQgetvalue(result, row, column)
        else {
          cells.append(nil)
          continue
        }
        let start = bytes.count
        let count = Int(PQgetlength(result, row, column))
        bytes.append(contentsOf: UnsafeRawBufferPointer(start: value, count: count))
        cells.append(start..<start + count)
      }
    }
    self.cells = cells
    self.bytes = bytes
  }

  public var rows: [PostgresRow] { (0..<rowCount).map { PostgresRow(result: self, index: $0) } }
  public var first: PostgresRow? { rowCount > 0 ? PostgresRow(result: self, index: 0) : nil }
}

/// One row of a result.
public struct PostgresRow: Sendable {
  let result: PostgresResult
  let index: Int

  /// The value's bytes as sent, `nil` for NULL. `column` counts from 0 and must exist.
  public func bytes(_ column: Int) -> [UInt8]? {
    precondition(result.columns.indices.contains(column), "column \(column) does not exist")
    return result.cells[index * result.columns.count + column].map { Array(result.bytes[$0]) }
  }

  /// The value as text, `nil` for NULL. `column` counts from 0 and must exist.
  public subscript(column: Int) -> String? {
    bytes(column).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The value as text, `nil` for NULL and for a column that is not there.
  public subscript(column: String) -> String? {
    result.columns.firstIndex(of: column).flatMap { self[$0] }
  }

  /// The value as a Swift type.
  /// - Throws: ``PostgresError`` `.undecodable` for NULL, other content, or a column not there.
  public func value<Value: PostgresDecodable>(
    _ column: String, as type: Value.Type = Value.self
  ) throws -> Value {
    guard let value = try optional(column, as: type) else {
      throw PostgresError(.undecodable, "read column '\(column)': value is NULL")
    }
    return value
  }

  /// The value as a Swift type, `nil` for NULL.
  /// - Throws: ``PostgresError`` `.undecodable` for other content or a column that is not there.
  public func optional<Value: PostgresDecodable>(
    _ column: String, as type: Value.Type = Value.self
  ) throws -> Value? {
    guard let index = result.columns.firstIndex(of: column) else {
      throw PostgresError(.undecodable, "read column '\(column)': no such column")
    }
    guard let text = self[index] else { return nil }
    guard let value = Value.decode(text: text) else {
      throw PostgresError(
        .undecodable, "read column '\(column)': '\(text.prefix(64))' is no \(type)")
    }
    return value
  }
}
