import PostgresFormat

/// What is sought.
public enum SeekTarget: Hashable, Sendable {
  /// The database after a power cut at this position.
  case lsn(LSN)
  /// The database before the first transaction that ended later than this.
  case time(PostgresTimestamp)
  /// Everything that the store holds.
  case head
}

/// A moment that was found, and how to open it.
public struct Moment: Hashable, Sendable {
  /// The line whose own WAL leads up to the moment: the one sought on, or an ancestor.
  public var line: LineID
  /// End of a whole record; the moment holds all records up to here.
  public var lsn: LSN
  /// Opened first, then WAL `[keyframe.redoLSN, lsn)` is replayed.
  public var keyframe: Keyframe
  /// Bytes of WAL to replay.
  public var tailBytes: UInt64 { lsn - keyframe.redoLSN }
}
