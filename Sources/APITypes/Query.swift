import Foundation

extension API {
  /// SQL to run on a branch, now or at a moment of its past.
  public struct QueryRequest: Codable, Hashable, Sendable {
    public var databaseName: String
    public var roleName: String
    /// Any number of statements; one implicit transaction unless they say otherwise.
    public var query: String
    /// A moment; the session then cannot write.
    public var lsn: String?
    public var timestamp: Date?
    /// Of each result; 1 to 10,000, default 1,000.
    public var rowLimit: Int?
    /// Whether the session may not write, also at the head.
    public var readOnly: Bool?

    public init(
      databaseName: String, roleName: String, query: String, lsn: String? = nil,
      timestamp: Date? = nil, rowLimit: Int? = nil, readOnly: Bool? = nil
    ) {
      self.databaseName = databaseName
      self.roleName = roleName
      self.query = query
      self.lsn = lsn
      self.timestamp = timestamp
      self.rowLimit = rowLimit
      self.readOnly = readOnly
    }

    enum CodingKeys: String, CodingKey {
      case query, lsn, timestamp
      case databaseName = "database_name"
      case roleName = "role_name"
      case rowLimit = "row_limit"
      case readOnly = "read_only"
    }
  }

  public struct QueryColumn: Codable, Hashable, Sendable {
    public var name: String
    /// `pg_type.oid`.
    public var typeOID: Int

    public init(name: String, typeOID: Int) {
      self.name = name
      self.typeOID = typeOID
    }

    enum CodingKeys: String, CodingKey {
      case name
      case typeOID = "type_oid"
    }
  }

  /// What one statement answered.
  public struct QueryResult: Codable, Hashable, Sendable {
    public var columns: [QueryColumn]
    /// Text as PostgreSQL writes it, or null.
    public var rows: [[Nullable<String>]]
    /// Such as `INSERT 0 5`.
    public var commandTag: String
    /// Whether the server had more rows than were asked for.
    public var isTruncated: Bool

    public init(
      columns: [QueryColumn], rows: [[Nullable<String>]], commandTag: String, isTruncated: Bool
    ) {
      self.columns = columns
      self.rows = rows
      self.commandTag = commandTag
      self.isTruncated = isTruncated
    }

    enum CodingKeys: String, CodingKey {
      case columns, rows
      case commandTag = "command_tag"
      case isTruncated = "is_truncated"
    }
  }

  /// What the server said of a statement that failed.
  public struct QueryError: Codable, Hashable, Sendable {
    public var message: String
    public var sqlState: String?
    public var detail: String?
    public var hint: String?
    /// Where in the SQL: characters from 1.
    public var position: Int?

    public init(
      message: String, sqlState: String?, detail: String?, hint: String?, position: Int?
    ) {
      self.message = message
      self.sqlState = sqlState
      self.detail = detail
      self.hint = hint
      self.position = position
    }

    enum CodingKeys: String, CodingKey {
      case message, detail, hint, position
      case sqlState = "sqlstate"
    }
  }

  /// Results in order; after an error none follow.
  public struct QueryResponse: Codable, Hashable, Sendable {
    public var results: [QueryResult]
    public var notices: [String]
    public var error: QueryError?
    public var durationMilliseconds: Int

    public init(
      results: [QueryResult], notices: [String], error: QueryError?, durationMilliseconds: Int
    ) {
      self.results = results
      self.notices = notices
      self.error = error
      self.durationMilliseconds = durationMilliseconds
    }

    enum CodingKeys: String, CodingKey {
      case results, notices, error
      case durationMilliseconds = "duration_milliseconds"
    }
  }

  /// Rows of one table at a moment, compared with now.
  public struct RowComparison: Codable, Hashable, Sendable {
    public struct Row: Codable, Hashable, Sendable {
      /// `removed`: only then; `added`: only now; `changed`.
      public var change: String
      /// The primary key's values as JSON; the whole row where the table has none.
      public var key: String
      public var then: String?
      public var now: String?

      public init(change: String, key: String, then: String?, now: String?) {
        self.change = change
        self.key = key
        self.then = then
        self.now = now
      }
    }

    public var table: String
    public var keyColumns: [String]
    public var isThereNow: Bool
    public var rowsThen: Int
    public var rowsNow: Int
    public var removed: Int
    public var added: Int
    public var changed: Int
    /// Whether more rows were there than are compared.
    public var isTruncated: Bool
    /// The first that differ.
    public var rows: [Row]

    public init(
      table: String, keyColumns: [String], isThereNow: Bool, rowsThen: Int, rowsNow: Int,
      removed: Int, added: Int, changed: Int, isTruncated: Bool, rows: [Row]
    ) {
      self.table = table
      self.keyColumns = keyColumns
      self.isThereNow = isThereNow
      self.rowsThen = rowsThen
      self.rowsNow = rowsNow
      self.removed = removed
      self.added = added
      self.changed = changed
      self.isTruncated = isTruncated
      self.rows = rows
    }

    enum CodingKeys: String, CodingKey {
      case table, removed, added, changed, rows
      case keyColumns = "key_columns"
      case isThereNow = "is_there_now"
      case rowsThen = "rows_then"
      case rowsNow = "rows_now"
      case isTruncated = "is_truncated"
    }
  }

  public struct RowComparisonResponse: Codable, Hashable, Sendable {
    public var comparison: RowComparison
    public init(comparison: RowComparison) { self.comparison = comparison }
  }
}

extension API {
  /// Bytes sent to clients of one endpoint in sessions of one kind.
  public struct Transfer: Codable, Hashable, Sendable {
    public var projectID: String
    public var endpointID: String
    /// `query`, `dump`, `pooled`, `time_travel` …
    public var sessionKind: String
    public var bytes: Int

    public init(projectID: String, endpointID: String, sessionKind: String, bytes: Int) {
      self.projectID = projectID
      self.endpointID = endpointID
      self.sessionKind = sessionKind
      self.bytes = bytes
    }

    enum CodingKeys: String, CodingKey {
      case bytes
      case projectID = "project_id"
      case endpointID = "endpoint_id"
      case sessionKind = "session_kind"
    }
  }

  public struct TransferResponse: Codable, Hashable, Sendable {
    public var periodStart: Date
    public var transfers: [Transfer]

    public init(periodStart: Date, transfers: [Transfer]) {
      self.periodStart = periodStart
      self.transfers = transfers
    }

    enum CodingKeys: String, CodingKey {
      case transfers
      case periodStart = "period_start"
    }
  }
}
