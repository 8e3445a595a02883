import Foundation
import PostgresFormat

/// What happened on a line, in order of WAL.
public struct LineEvents: Sendable {
  /// One minute's work; a minute can come several times.
  public struct Minute: Hashable, Sendable {
    public var start: Date
    /// About where the minute's WAL begins.
    public var lsn: LSN
    public var commits: Int
    public var aborts: Int
    public var walBytes: Int
    public var deletedRows: Int

    public init(
      start: Date, lsn: LSN, commits: Int, aborts: Int, walBytes: Int, deletedRows: Int
    ) {
      self.start = start
      self.lsn = lsn
      self.commits = commits
      self.aborts = aborts
      self.walBytes = walBytes
      self.deletedRows = deletedRows
    }
  }

  /// A relation's file that came, went or was cut.
  public struct FileChange: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
      case created, dropped, truncated
      /// All of a database; the locator's relation is 0.
      case databaseCreated, databaseDropped
    }

    public var kind: Kind
    public var relation: RelFileLocator
    public var xid: UInt32
    /// Start of the record; of files that go, that of the transaction's end.
    public var lsn: LSN
    public var time: Date

    public init(kind: Kind, relation: RelFileLocator, xid: UInt32, lsn: LSN, time: Date) {
      self.kind = kind
      self.relation = relation
      self.xid = xid
      self.lsn = lsn
      self.time = time
    }
  }

  /// Rows of one relation that went within one minute.
  public struct Deletion: Hashable, Sendable {
    public var start: Date
    public var relation: RelFileLocator
    public var rows: Int
    /// The WAL in which the deletes lie.
    public var range: Range<LSN>

    public init(start: Date, relation: RelFileLocator, rows: Int, range: Range<LSN>) {
      self.start = start
      self.relation = relation
      self.rows = rows
      self.range = range
    }
  }

  /// An image from which moments are opened.
  public struct Keyframe: Hashable, Sendable {
    public var lsn: LSN
    public var time: Date
    public var isComplete: Bool

    public init(lsn: LSN, time: Date, isComplete: Bool) {
      self.lsn = lsn
      self.time = time
      self.isComplete = isComplete
    }
  }

  public var minutes: [Minute] = []
  public var changes: [FileChange] = []
  public var deletions: [Deletion] = []
  public var keyframes: [Keyframe] = []

  public init() {}
}

/// A transaction that deleted rows.
public struct DeletingTransaction: Hashable, Sendable {
  public var xid: UInt32
  public var rows: Int
  /// Start of the record that committed it: the rows are there up to here.
  public var commitLSN: LSN
  public var time: Date

  public init(xid: UInt32, rows: Int, commitLSN: LSN, time: Date) {
    self.xid = xid
    self.rows = rows
    self.commitLSN = commitLSN
    self.time = time
  }
}
