import Foundation

extension API {
  /// How a dump is written; `directory` is downloaded as one tar.
  public enum DumpFormat: String, WireEnumeration {
    case custom, directory, plain
  }

  /// How far a dump is. `finished`, `failed` and `cancelled` are final.
  public enum DumpStatus: String, WireEnumeration {
    case queued, running, verifying, finished, failed, cancelled
  }

  /// What a verification found. `error`: it could not be carried out.
  public enum DumpVerificationStatus: String, WireEnumeration {
    case passed, failed, error
  }

  /// All of them, or those that are named.
  public enum Selection: Codable, Hashable, Sendable {
    case all
    case names([String])

    public init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      // A text that is not "all" is told of below, like everything else that is no list.
      if let text = try? container.decode(String.self) {
        guard text == "all" else {
          throw DecodingError.dataCorruptedError(
            in: container, debugDescription: "is '\(text.prefix(64))', must be 'all' or a list")
        }
        self = .all
        return
      }
      self = .names(try container.decode([String].self))
    }

    public func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch self {
      case .all: try container.encode("all")
      case .names(let names): try container.encode(names)
      }
    }
  }

  /// The body of `POST …/dumps`.
  public struct DumpRequest: Codable, Hashable, Sendable {
    /// Ids of branches.
    public var branches: Selection
    /// Names of databases.
    public var databases: Selection
    /// The moment, on a single branch; neither this nor `timestamp` is the head.
    public var lsn: String?
    public var timestamp: Date?
    /// `custom` where absent.
    public var format: DumpFormat?
    /// Processes that dump in parallel, 1 to 8; above 1 for `directory` only.
    public var jobs: Int?
    /// Whether it is restored into a scratch branch afterwards and compared with the source.
    public var verify: Bool?
    public var expiresAt: Date?

    public init(
      branches: Selection, databases: Selection, lsn: String? = nil, timestamp: Date? = nil,
      format: DumpFormat? = nil, jobs: Int? = nil, verify: Bool? = nil, expiresAt: Date? = nil
    ) {
      self.branches = branches
      self.databases = databases
      self.lsn = lsn
      self.timestamp = timestamp
      self.format = format
      self.jobs = jobs
      self.verify = verify
      self.expiresAt = expiresAt
    }

    enum CodingKeys: String, CodingKey {
      case branches, databases, lsn, timestamp, format, jobs, verify
      case expiresAt = "expires_at"
    }
  }

  /// How far the work on a dump is.
  public struct DumpProgress: Codable, Hashable, Sendable {
    /// Bytes written so far.
    public var bytes: Int
    public var tablesDone: Int
    public var tablesTotal: Int

    public init(bytes: Int, tablesDone: Int, tablesTotal: Int) {
      self.bytes = bytes
      self.tablesDone = tablesDone
      self.tablesTotal = tablesTotal
    }

    enum CodingKeys: String, CodingKey {
      case bytes
      case tablesDone = "tables_done"
      case tablesTotal = "tables_total"
    }
  }

  /// What restoring a dump into a scratch branch and comparing it with its source found.
  public struct DumpVerification: Codable, Hashable, Sendable {
    public var status: DumpVerificationStatus
    public var checkedAt: Date
    /// Tables compared, by row count and content.
    public var tables: Int
    /// Rows of all of them.
    public var rows: Int
    public var sequences: Int
    public var largeObjects: Int
    /// What differs, or is not compared; one sentence each, at most 100.
    public var differences: [String]
    public var notes: [String]

    public init(
      status: DumpVerificationStatus, checkedAt: Date, tables: Int = 0, rows: Int = 0,
      sequences: Int = 0, largeObjects: Int = 0, differences: [String] = [], notes: [String] = []
    ) {
      self.status = status
      self.checkedAt = checkedAt
      self.tables = tables
      self.rows = rows
      self.sequences = sequences
      self.largeObjects = largeObjects
      self.differences = differences
      self.notes = notes
    }

    enum CodingKeys: String, CodingKey {
      case status, tables, rows, sequences, differences, notes
      case checkedAt = "checked_at"
      case largeObjects = "large_objects"
    }
  }

  /// A `pg_dump` archive of one database of one branch at one moment.
  public struct Dump: Codable, Hashable, Sendable {
    public var id: String
    public var projectID: String
    public var branchID: String
    public var database: String
    public var format: DumpFormat
    public var jobs: Int
    public var lsn: String
    public var timestamp: Date?
    public var status: DumpStatus
    /// Why it failed.
    public var error: String?
    public var progress: DumpProgress
    /// Bytes of the download; absent until it is written.
    public var sizeBytes: Int?
    /// SHA-256 of the download, in hexadecimal digits.
    public var sha256: String?
    /// What the download is called.
    public var fileName: String
    public var verify: Bool
    public var verification: DumpVerification?
    /// Made on request, not by a schedule.
    public var manual: Bool
    public var operationID: String
    public var createdAt: Date
    public var startedAt: Date?
    public var finishedAt: Date?
    public var expiresAt: Date?

    public init(
      id: String, projectID: String, branchID: String, database: String, format: DumpFormat,
      jobs: Int, lsn: String, timestamp: Date?, status: DumpStatus, error: String?,
      progress: DumpProgress, sizeBytes: Int?, sha256: String?, fileName: String, verify: Bool,
      verification: DumpVerification?, manual: Bool, operationID: String, createdAt: Date,
      startedAt: Date?, finishedAt: Date?, expiresAt: Date?
    ) {
      self.id = id
      self.projectID = projectID
      self.branchID = branchID
      self.database = database
      self.format = format
      self.jobs = jobs
      self.lsn = lsn
      self.timestamp = timestamp
      self.status = status
      self.error = error
      self.progress = progress
      self.sizeBytes = sizeBytes
      self.sha256 = sha256
      self.fileName = fileName
      self.verify = verify
      self.verification = verification
      self.manual = manual
      self.operationID = operationID
      self.createdAt = createdAt
      self.startedAt = startedAt
      self.finishedAt = finishedAt
      self.expiresAt = expiresAt
    }

    enum CodingKeys: String, CodingKey {
      case id, database, format, jobs, lsn, timestamp, status, error, progress, sha256, verify
      case verification, manual
      case projectID = "project_id"
      case branchID = "branch_id"
      case sizeBytes = "size_bytes"
      case fileName = "file_name"
      case operationID = "operation_id"
      case createdAt = "created_at"
      case startedAt = "started_at"
      case finishedAt = "finished_at"
      case expiresAt = "expires_at"
    }
  }
}
