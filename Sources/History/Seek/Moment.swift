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
  /// The newest one at or before the moment: opened first, then WAL `[keyframe.redoLSN, lsn)` is
  /// recovered. Where it is not complete, blocks need WAL from further back; see ``LayerGroup``.
  public var keyframe: Keyframe
  /// The newest one whose layers lack nothing but replay, on the line or an ancestor.
  public var complete: Keyframe?
  /// Bytes of WAL that a server recovers when the moment is opened from ``keyframe``.
  public var tailBytes: UInt64 { lsn - keyframe.redoLSN }
}
