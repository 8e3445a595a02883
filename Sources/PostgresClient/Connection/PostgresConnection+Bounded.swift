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
    var results: [BoundedResult] = []
    var current = BoundedResult()
    var size = 0
    var (isCancelled, hasMore) = (false, false)
    var failure: PostgresError?
    while let result = PQgetResult(session) {
      defer { PQclear(result) }
      guard failure == nil else { continue }
      switch PQresultStatus(result) {
      case PGRES_SINGLE_TUPLE:
        if current.rows.count < rows, size < bytes {
          size += Self.add(result, to: &current)
        } else if !hasMore {
          hasMore = true
          isCancelled = true
          try cancellation.cancel()
        }
      case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
        if current.columns.isEmpty { current.columns = Self.columns(of: result) }
        current.commandTag = String(cString: PQcmdStatus(result))
        // The cancellation may have come too late.
        current.isTruncated = hasMore
        results.append(current)
        (current, size, hasMore) = (BoundedResult(), 0, false)
      default:
        do {
          _ = try checked(result, session)
        } catch let error as PostgresError {
          if isCancelled, error.sqlState == "57014" {
            current.isTruncated = hasMore
            if hasMore { results.append(current) }
            hasMore = false
          } else {
            failure = error
          }
          current = BoundedResult()
          if PQstatus(session) == CONNECTION_BAD { return (results, error) }
        }
      }
    }
    return (results, failure)
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
