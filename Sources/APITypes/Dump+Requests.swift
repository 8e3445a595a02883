import Foundation

extension API {
  /// The answer of `POST …/dumps`: one dump a database a branch.
  public struct CreatedDumps: Codable, Hashable, Sendable {
    public var dumps: [Dump]
    public var operations: [Operation]
    /// Branches that could not be looked into, where all were asked for: nothing of them is dumped.
    public var failures: [BranchFailure]?

    public init(dumps: [Dump], operations: [Operation], failures: [BranchFailure]? = nil) {
      self.dumps = dumps
      self.operations = operations
      self.failures = failures
    }
  }

  /// Why something that is done for many branches is not done for one.
  public struct BranchFailure: Codable, Hashable, Sendable {
    public var branchID: String
    public var branchName: String
    public var error: String

    public init(branchID: String, branchName: String, error: String) {
      self.branchID = branchID
      self.branchName = branchName
      self.error = error
    }

    enum CodingKeys: String, CodingKey {
      case error
      case branchID = "branch_id"
      case branchName = "branch_name"
    }
  }

  /// The answer of `GET …/dumps`, newest first.
  public struct DumpsResponse: Codable, Hashable, Sendable {
    public var dumps: [Dump]
    public var pagination: Pagination?

    public init(dumps: [Dump], pagination: Pagination? = nil) {
      self.dumps = dumps
      self.pagination = pagination
    }
  }

  /// The answer that carries one dump.
  public struct DumpResponse: Codable, Hashable, Sendable {
    public var dump: Dump

    public init(dump: Dump) { self.dump = dump }
  }

  /// The answer of `DELETE …/dumps/{dump_id}` and `POST …/dumps/{dump_id}/verify`.
  public struct DumpOperations: Codable, Hashable, Sendable {
    public var dump: Dump
    public var operations: [Operation]

    public init(dump: Dump, operations: [Operation]) {
      self.dump = dump
      self.operations = operations
    }
  }

  /// The body of `POST …/dumps/{dump_id}/restore`.
  public struct DumpRestoreRequest: Codable, Hashable, Sendable {
    public var branchID: String
    /// Made where it is not there; one that is there must be empty, unless `tables` is given.
    public var database: String
    /// `schema.table`, quoted as in SQL where needed; absent is everything.
    public var tables: [String]?

    public init(branchID: String, database: String, tables: [String]? = nil) {
      self.branchID = branchID
      self.database = database
      self.tables = tables
    }

    enum CodingKeys: String, CodingKey {
      case database, tables
      case branchID = "branch_id"
    }
  }

  /// The body of `POST …/branches/{branch_id}/recover_table`.
  public struct RecoverTableRequest: Codable, Hashable, Sendable {
    public var database: String
    /// `schema.table`, quoted as in SQL where needed; without a schema it is `public`.
    public var table: String
    /// The moment; exactly one of the two.
    public var lsn: String?
    public var timestamp: Date?
    /// The name of the table that is made, in the same schema. Absent: its own name where that is
    /// free; with `where`, rows that are missing go back into the table that is there.
    public var newName: String?
    /// A condition in SQL that rows must meet.
    public var condition: String?

    public init(
      database: String, table: String, lsn: String? = nil, timestamp: Date? = nil,
      newName: String? = nil, condition: String? = nil
    ) {
      self.database = database
      self.table = table
      self.lsn = lsn
      self.timestamp = timestamp
      self.newName = newName
      self.condition = condition
    }

    enum CodingKeys: String, CodingKey {
      case database, table, lsn, timestamp
      case newName = "as"
      case condition = "where"
    }
  }

  /// The body of `POST …/branches/{branch_id}/recover_database`.
  public struct RecoverDatabaseRequest: Codable, Hashable, Sendable {
    public var database: String
    public var lsn: String?
    public var timestamp: Date?
    /// The new database's name; absent: its own where that is free.
    public var newName: String?

    public init(
      database: String, lsn: String? = nil, timestamp: Date? = nil, newName: String? = nil
    ) {
      self.database = database
      self.lsn = lsn
      self.timestamp = timestamp
      self.newName = newName
    }

    enum CodingKeys: String, CodingKey {
      case database, lsn, timestamp
      case newName = "as"
    }
  }
}
