import APITypes
import Foundation

/// What is to be dumped.
public struct DumpOrder: Sendable, Hashable {
  public var id: String
  public var project: String
  public var database: String
  public var format: API.DumpFormat
  public var jobs: Int

  public init(id: String, project: String, database: String, format: API.DumpFormat, jobs: Int) {
    self.id = id
    self.project = project
    self.database = database
    self.format = format
    self.jobs = jobs
  }
}

/// A dump that is in the object store, whole and read back once.
public struct StoredDump: Sendable, Hashable {
  /// Of the download.
  public var sizeBytes: Int
  /// Of the download, hexadecimal.
  public var sha256: String
  public var tables: Int

  public init(sizeBytes: Int, sha256: String, tables: Int) {
    self.sizeBytes = sizeBytes
    self.sha256 = sha256
    self.tables = tables
  }
}

/// What is to be restored, and to where.
public struct RestoreOrder: Sendable, Hashable {
  public var dump: String
  public var project: String
  /// Names the work: what an interrupted attempt left is found by it.
  public var operation: String
  public var database: String
  /// `nil` for everything; otherwise the database may hold other things already.
  public var tables: [String]?
  /// Who owns a database that is made, where the dump's owner is not known.
  public var owner: String
  /// Whether an earlier attempt committed it: only what that one left is tidied up.
  public var isCommitted = false
  /// Whether the dump was deleted meanwhile: what an earlier attempt left is removed, and the call throws.
  public var isGone = false

  public init(
    dump: String, project: String, operation: String, database: String, tables: [String]?,
    owner: String
  ) {
    self.dump = dump
    self.project = project
    self.operation = operation
    self.database = database
    self.tables = tables
    self.owner = owner
  }
}

/// A table, or some of its rows, to bring from a past moment into a running database.
public struct TableOrder: Sendable, Hashable {
  public var project: String
  public var operation: String
  public var database: String
  /// As the user wrote it.
  public var table: String
  public var newName: String?
  /// A condition in SQL, as the user wrote it.
  public var condition: String?
  /// Whether an earlier attempt committed it: only what that one left is tidied up.
  public var isCommitted: Bool

  public init(
    project: String, operation: String, database: String, table: String, newName: String?,
    condition: String?, isCommitted: Bool
  ) {
    self.project = project
    self.operation = operation
    self.database = database
    self.table = table
    self.newName = newName
    self.condition = condition
    self.isCommitted = isCommitted
  }
}

/// What came of a restore.
public struct RestoreOutcome: Codable, Sendable, Hashable {
  /// What the user should know, such as roles that were made, or foreign keys that do not hold.
  public var notes: [String]
  /// Who owns the database.
  public var owner: String

  public init(notes: [String], owner: String) {
    self.notes = notes
    self.owner = owner
  }
}

/// What a database holds, in a form that two databases can be compared by.
public struct DatabaseContents: Sendable, Hashable {
  /// Rows of one table and the sum of their hashes: the same whatever their order.
  public struct Table: Sendable, Hashable {
    public var rows: Int
    public var hash: String

    public init(rows: Int, hash: String) {
      self.rows = rows
      self.hash = hash
    }
  }

  /// By qualified name.
  public var tables: [String: Table]
  public var sequences: [String: String]
  public var largeObjects: Table
  /// The statements that make the database's objects anew.
  public var schema: String
  /// What is not compared.
  public var notes: [String]

  public init(
    tables: [String: Table], sequences: [String: String], largeObjects: Table, schema: String,
    notes: [String] = []
  ) {
    self.tables = tables
    self.sequences = sequences
    self.largeObjects = largeObjects
    self.schema = schema
    self.notes = notes
  }
}

/// What reading all of a dump's objects found.
public struct DumpProof: Sendable, Hashable {
  public var objects = 0
  public var bytes = 0
  /// One sentence each, with the object's name.
  public var problems: [String] = []

  public init() {}
}

/// A dump as it is downloaded.
public protocol DumpFile: Sendable {
  /// Bytes.
  var size: Int { get }
  /// At least one byte from `offset` on, at most up to `end`; checked against what was written.
  func read(from offset: Int, to end: Int) async throws -> [UInt8]
}

/// Makes, keeps and restores dumps with PostgreSQL's own programs. Every call may be repeated.
public protocol DumpTools: Sendable {
  /// Writes a dump to the object store, in the place of one of the same id.
  ///
  /// On return it is durable; on throw nothing of it is left, as far as the store lets it go.
  /// - Parameter progress: called every second or so; what it throws ends the dump.
  func make(
    _ order: DumpOrder, from compute: RunningCompute,
    progress: @escaping @Sendable (API.DumpProgress) async throws -> Void
  ) async throws -> StoredDump
  /// Removes what the store holds of a dump; no error where that is nothing.
  func remove(dump: String, project: String) async throws
  func open(dump: String, project: String) async throws -> any DumpFile
  /// The statements that make the cluster's roles anew, without passwords, as they were noted with
  /// the dump.
  func globals(ofDump dump: String, project: String) async throws -> String
  /// Reads every byte that the store holds of a dump and compares it with what was written.
  /// - Throws: ``DumpError`` where the store does not answer; what is damaged or missing is in the proof.
  func check(dump: String, project: String, bytesPerSecond: UInt64) async throws -> DumpProof
  /// Reads every row of every table.
  func contents(of database: String, on compute: RunningCompute) async throws -> DatabaseContents
  /// Restores a dump as a role that is not superuser: all of it or nothing.
  ///
  /// A call after one that was cut off finds out whether that one committed, until `committed` was called: then the
  /// caller keeps it, and says so in the order. One that throws removes a database that a call of the same operation
  /// made, unless somebody put something into it.
  /// - Parameter committed: called once all is in the database, with what the user should know.
  func restore(
    _ order: RestoreOrder, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws
  /// Brings a table from a writable branch of the past, which is changed by that, into the same
  /// database of another compute: all of it or nothing; `committed` as of a restore.
  func recover(
    _ order: TableOrder, from past: RunningCompute, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws
  /// Removes a line that nothing points to and nobody writes from the store.
  func removeHistory(line: String) async throws
}

extension DumpTools {
  public func check(
    dump: String, project: String, bytesPerSecond: UInt64
  ) async throws -> DumpProof { DumpProof() }
}

/// What went wrong with a dump or a restore, for whoever asked for it.
public struct DumpError: Error, Sendable, CustomStringConvertible {
  public var message: String
  public var hint: String?
  /// Whether the same call may succeed later.
  public var isTemporary: Bool

  public init(_ message: String, hint: String? = nil, isTemporary: Bool = false) {
    self.message = message
    self.hint = hint
    self.isTemporary = isTemporary
  }

  public var description: String { hint.map { "\(message). HINT: \($0)" } ?? message }
}

/// Stands where no tools were given.
struct NoDumpTools: DumpTools {
  private var missing: DumpError { DumpError("work on a dump: this process has no tools for it") }

  func make(
    _ order: DumpOrder, from compute: RunningCompute,
    progress: @escaping @Sendable (API.DumpProgress) async throws -> Void
  ) async throws -> StoredDump { throw missing }
  func remove(dump: String, project: String) async throws { throw missing }
  func open(dump: String, project: String) async throws -> any DumpFile { throw missing }
  func globals(ofDump dump: String, project: String) async throws -> String { throw missing }
  func contents(of database: String, on compute: RunningCompute) async throws -> DatabaseContents {
    throw missing
  }
  func restore(
    _ order: RestoreOrder, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws { throw missing }
  func recover(
    _ order: TableOrder, from past: RunningCompute, to compute: RunningCompute,
    committed: @escaping @Sendable (RestoreOutcome) async throws -> Void
  ) async throws { throw missing }
  func removeHistory(line: String) async throws { throw missing }
}
