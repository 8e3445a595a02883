/// What a record does, for the kinds that change more than the pages they name, and some more.
///
/// Sources: `catalog/pg_control.h`, `access/xlog_internal.h`, `catalog/storage_xlog.h`,
/// `commands/dbcommands_xlog.h`, `commands/tablespace.h`, `utils/relmapper.h`,
/// `storage/standbydefs.h`.
public enum WALRecordContent: Hashable, Sendable {
  case transactionEnd(TransactionEnd)
  case prepare(PreparedTransaction)
  case checkpoint(Checkpoint, isShutdown: Bool)
  /// 17 and later: marks an online checkpoint's redo position.
  case checkpointRedo
  case endOfRecovery(timeline: TimelineID, previous: TimelineID, time: PostgresTimestamp)
  case parameterChange(ParameterChange)
  case fullPageWritesChange(Bool)
  case noop
  case nextOID(UInt32)
  case segmentSwitch
  case backupEnd(start: LSN)
  case restorePoint(name: String, time: PostgresTimestamp)
  /// Full images of pages; those for hints may be left out of replay's counts.
  case fullPageImages(forHint: Bool)
  case overwriteContinuation(of: LSN, time: PostgresTimestamp)
  case fileCreate(RelFileLocator, ForkNumber)
  case fileTruncate(RelFileLocator, toBlocks: UInt32, TruncatedForks)
  case databaseCreateByFileCopy(DatabaseDirectory, from: DatabaseDirectory)
  /// The files themselves follow as ordinary records.
  case databaseCreate(DatabaseDirectory)
  case databaseDrop(database: UInt32, tablespaces: [UInt32])
  case tablespaceCreate(UInt32, path: String)
  case tablespaceDrop(UInt32)
  case relationMap(DatabaseDirectory, mapLength: Int)
  case runningTransactions(RunningTransactions)
  /// `TRUNCATE`, written for logical decoding only; the files' change is in other records.
  case tableTruncate(database: UInt32, relationOIDs: [UInt32])
  case other
}

/// A database's directory: the two numbers of its path.
public struct DatabaseDirectory: Hashable, Sendable {
  public var tablespace: UInt32
  public var database: UInt32

  public init(tablespace: UInt32, database: UInt32) {
    self.tablespace = tablespace
    self.database = database
  }
}

/// Which forks a truncation shortens. The length given is of the main fork; the maps follow it.
public struct TruncatedForks: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let main = TruncatedForks(rawValue: 1)
  public static let visibilityMap = TruncatedForks(rawValue: 2)
  public static let freeSpaceMap = TruncatedForks(rawValue: 4)
}

/// Settings that hot standby depends on. Source: `xl_parameter_change`.
public struct ParameterChange: Hashable, Sendable {
  public var maxConnections: Int32
  public var maxWorkerProcesses: Int32
  public var maxWALSenders: Int32
  public var maxPreparedTransactions: Int32
  public var maxLocksPerTransaction: Int32
  /// 0 minimal, 1 replica, 2 logical.
  public var walLevel: Int32
  public var walLogHints: Bool
  public var trackCommitTimestamp: Bool

  /// With the higher of both values where a server may not allow less than WAL was written with
  /// (`CheckRequiredParameterValues`, `xlogrecovery.c`).
  public func raised(to other: ParameterChange?) -> ParameterChange {
    guard let other else { return self }
    var highest = self
    highest.maxConnections = max(maxConnections, other.maxConnections)
    highest.maxWorkerProcesses = max(maxWorkerProcesses, other.maxWorkerProcesses)
    highest.maxWALSenders = max(maxWALSenders, other.maxWALSenders)
    highest.maxPreparedTransactions = max(
      maxPreparedTransactions, other.maxPreparedTransactions)
    highest.maxLocksPerTransaction = max(maxLocksPerTransaction, other.maxLocksPerTransaction)
    return highest
  }
}

/// Source: `xl_running_xacts`.
public struct RunningTransactions: Hashable, Sendable {
  public var nextXID: UInt32
  public var oldestRunningXID: UInt32
  public var latestCompletedXID: UInt32
  /// Some subtransactions are missing from the list.
  public var subtransactionsOverflowed: Bool
  public var transactions: [UInt32]
  public var subtransactions: [UInt32]
}
