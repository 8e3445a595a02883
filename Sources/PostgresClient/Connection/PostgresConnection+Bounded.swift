import CLibpq

/// What a statement answered, up to a limit.
public struct BoundedResult: Sendable {
  public struct Column: Sendable, Hashable {
    public var name: String
    /// `pg_type.oid`.
    public var type: UInt32
  }

  public var columns: [Column] = []
  /// `nil` is NULL.
  public var rows: [[String?]] = []
  public var commandTag = ""
  /// Whether the server had more.
  public var isTruncated = false
}

extension PostgresConnection {
  /// Runs a script as ``execute(_:)`` does and keeps at most `rows` rows and `bytes` bytes of each
  /// result; at the limit the statement is cancelled and nothing after it runs.
  ///
  /// Memory is bounded by the limits, whatever the server has.
  /// - Returns: the results before the error, too.
  public func executeBounded(
    _ script: String, rows: Int, bytes: Int
  ) throws -> (results: [BoundedResult], error: PostgresError?) {
    let session = try session()
    let sent = try CStrings([script]).withPointers { PQsendQuery(session, $0[0]) }
    guard sent == 1, PQsetSingleRowMode(session) == 1 else { throw sendFailure(session) }
    var answers = BoundedAnswers(rows: rows, bytes: bytes)
    while let result = PQgetResult(session) {
      defer { PQclear(result) }
      guard answers.error == nil else { continue }
      switch PQresultStatus(result) {
      case PGRES_SINGLE_TUPLE:
        if answers.add(result) { try cancellation.cancel() }
      case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: answers.end(result)
      default:
        do {
          _ = try checked(result, session)
        } catch let error as PostgresError {
          answers.fail(error)
          if PQstatus(session) == CONNECTION_BAD { return (answers.results, error) }
        }
      }
    }
    return (answers.results, answers.error)
  }
}

/// Results as their rows come.
private struct BoundedAnswers {
  let rows: Int
  let bytes: Int
  private(set) var results: [BoundedResult] = []
  private(set) var error: PostgresError?
  private var current = BoundedResult()
  private var size = 0
  /// Whether a row came above the limit.
  private var hasMore = false
  private var isCancelled = false

  init(rows: Int, bytes: Int) {
    self.rows = rows
    self.bytes = bytes
  }

  /// Takes a row.
  /// - Returns: whether the statement is to be cancelled: once.
  mutating func add(_ result: OpaquePointer) -> Bool {
    if current.rows.count < rows, size < bytes {
      size += Self.add(result, to: &current)
      return false
    }
    defer { (hasMore, isCancelled) = (true, true) }
    return !hasMore
  }

  mutating func end(_ result: OpaquePointer) {
    if current.columns.isEmpty { current.columns = Self.columns(of: result) }
    current.commandTag = String(cString: PQcmdStatus(result))
    take()
  }

  /// The statement failed, or our cancellation ended it.
  mutating func fail(_ failure: PostgresError) {
    if isCancelled, failure.sqlState == "57014" {
      if hasMore { take() }
    } else {
      error = failure
    }
  }

  /// The cancellation may have come too late: the statement is done, and rows are missing.
  private mutating func take() {
    current.isTruncated = hasMore
    results.append(current)
    (current, size, hasMore) = (BoundedResult(), 0, false)
  }

  private static func columns(of result: OpaquePointer) -> [BoundedResult.Column] {
    (0..<PQnfields(result)).map { index in
      BoundedResult.Column(
        name: PQfname(result, index).map { String(cString: $0) } ?? "",
        type: PQftype(result, index))
    }
  }

  /// - Returns: the row's bytes.
  private static func add(_ result: OpaquePointer, to bounded: inout BoundedResult) -> Int {
    if bounded.columns.isEmpty { bounded.columns = columns(of: result) }
    var size = 0
    let row = (0..<PQnfields(result)).map { column -> String? in
      guard PQgetisnull(result, 0, column) == 0, let value = PQgetvalue(result, 0, column) else {
        return nil
      }
      size += Int(PQgetlength(result, 0, column)) + 8
      return String(cString: value)
    }
    bounded.rows.append(row)
    return size
  }
}
