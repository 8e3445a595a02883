import PostgresFormat

/// What `IDENTIFY_SYSTEM` answers.
public struct SystemIdentification: Sendable, Equatable {
  public var systemIdentifier: UInt64
  public var timeline: TimelineID
  /// The flushed position of the server's WAL.
  public var flushedLSN: LSN
}

/// What `READ_REPLICATION_SLOT` answers about a physical slot.
public struct ReplicationSlotState: Sendable, Equatable {
  /// The oldest WAL that the slot keeps, `nil` while it keeps none.
  public var restartLSN: LSN?
  public var restartTimeline: TimelineID?
}

/// What ends one wait for the stream. The bytes are valid during the call that hands them over
/// only.
public enum ReplicationEvent {
  /// WAL from `start` on. `serverEnd` is the position that the server has sent up to or more.
  case wal(start: LSN, serverEnd: LSN, bytes: UnsafeRawBufferPointer)
  /// A sign of life. Where a reply is asked for, the server waits for a status update.
  case keepalive(serverEnd: LSN, isReplyRequested: Bool)
  /// Nothing came in time, or ``WakePipe/wake()`` was called.
  case idle
  /// The server ended the stream: for another timeline where it names one, else for its shutdown.
  case ended(next: TimelineSwitch?)
}

/// Where the server's WAL goes on.
public struct TimelineSwitch: Sendable, Equatable {
  public var timeline: TimelineID
  /// Where the new timeline begins; WAL of the old one past it is none of the new one's.
  public var startLSN: LSN

  public init(timeline: TimelineID, startLSN: LSN) {
    self.timeline = timeline
    self.startLSN = startLSN
  }
}

/// Positions that a standby reports. The server frees WAL below `flushed` and, where the standby is
/// synchronous, lets
/// commits below it return.
public struct StandbyStatus: Sendable, Equatable {
  public var written: LSN
  public var flushed: LSN
  public var applied: LSN
  public init(written: LSN, flushed: LSN, applied: LSN) {
    self.written = written
    self.flushed = flushed
    self.applied = applied
  }
}

/// Reads big-endian integers of replication messages.
func bigEndian64(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
  UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
}

extension StandbyStatus {
  /// The message `r` of the streaming replication protocol: 34 bytes.
  func message(clientTime: Int64, asksReply: Bool) -> [UInt8] {
    var bytes: [UInt8] = [UInt8(ascii: "r")]
    for value in [
      written.rawValue, flushed.rawValue, applied.rawValue, UInt64(bitPattern: clientTime),
    ] {
      withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }
    bytes.append(asksReply ? 1 : 0)
    return bytes
  }
}
