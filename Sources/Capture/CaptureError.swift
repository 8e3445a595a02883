import PostgresFormat

/// Why capture stopped, or could not do what was asked.
public struct CaptureError: Error, Sendable, CustomStringConvertible {
  /// The kinds of failure that callers tell apart.
  public enum Code: String, Sendable {
    /// The server's system identifier is another than the line's.
    case wrongServer
    /// The server's WAL ends before what capture holds: its disk went back in time.
    case serverBehind
    /// WAL that is needed is gone from the server. The line ends here; see `gap`.
    case gap
    /// The server sent other bytes than those that the store holds for the same positions.
    case differsFromStore
    /// WAL that is not what PostgreSQL writes came several times from the same position.
    case damagedWAL
    /// Another writer has the line, or the line refuses the chunk.
    case lineRefused
    /// The spool directory belongs to another line or cannot be used.
    case spool
    /// The spool must be of this version of its format.
    case spoolFormat
    /// It did not happen within the time given. Nothing is lost; ask again.
    case timeout
    /// Capture was stopped, or not started.
    case stopped
  }

  public var code: Code
  /// Verb and object, such as `stream WAL`.
  public var operation: String
  public var lsn: LSN?
  /// The missing WAL, for `.gap`.
  public var gap: Range<LSN>?
  public var detail: String
  public var cause: (any Error)?

  init(
    _ code: Code, _ operation: String, lsn: LSN? = nil, gap: Range<LSN>? = nil,
    detail: String = "", cause: (any Error)? = nil
  ) {
    self.code = code
    self.operation = operation
    self.lsn = lsn
    self.gap = gap
    self.detail = detail
    self.cause = cause
  }

  public var description: String {
    var text = operation
    if let lsn { text += " at \(lsn)" }
    text += ": \(code.rawValue)"
    if !detail.isEmpty { text += ": \(detail)" }
    if let cause { text += ": \(cause)" }
    return text
  }
}

/// What happened that its owner may have to act on or tell about.
public enum CaptureEvent: Sendable {
  /// The stream runs from this position.
  case streaming(from: LSN)
  /// The stream ended or could not be opened; capture goes on trying.
  case disconnected(any Error)
  /// The server ended the stream at its shutdown, after all of its WAL, this position included.
  case serverEnded(at: LSN)
  /// The slot was gone or unusable and has been made anew. Where `gap` is not nil, WAL is missing:
  /// capture
  /// stops with ``CaptureError/Code-swift.enum/gap``, and a new keyframe on a new line must begin
  /// at or
  /// after its end.
  case slotRecreated(gap: Range<LSN>?)
  case timelineSwitched(TimelineID, at: LSN)
  /// Capture goes on spooling and trying. Told once until the store answers again.
  case storeUnreachable(any Error)
  case storeReachable
  /// The spool holds at least this share of its limit: 50, 80 or 100 per cent. At 100 nothing more
  /// is received.
  case spoolFilling(percent: Int)
  /// The spool's disk failed a call; capture has gone back to what is synced and tries again.
  case spoolFailed(any Error)
  /// A record did not pass its checks; it is fetched again.
  case damagedWAL(any Error)
  /// Capture has stopped for good.
  case failed(CaptureError)
}

/// How far capture is. `receivedLSN ≥ flushedLSN ≥ uploadedLSN` always.
public struct CapturePositions: Sendable, Equatable {
  /// The end of the server's WAL as last heard.
  public var serverLSN: LSN
  public var receivedLSN: LSN
  /// Verified, and synced in the spool.
  public var flushedLSN: LSN
  public var uploadedLSN: LSN
  /// Bytes that the server has and the store has not.
  public var lagBytes: UInt64
  /// The age of the oldest commit that is not in the store; 0 where all are.
  public var lag: Duration
  /// Bytes that wait in the spool for the store.
  public var spoolBytes: UInt64
  public var isStreaming: Bool
  /// When, by our clock, the server last said something and had nothing that was not received; `nil` where that was
  /// never so since capture began.
  public var heldUntil: PostgresTimestamp?
  public var isStoreReachable: Bool
  /// Why capture has stopped for good, if it has.
  public var failure: String?
}
