import PostgresFormat

/// Collects a run of WAL and what its records say, while capture parses it: parsing happens once.
///
/// Order of use: ``append(_:)`` the bytes, then ``observeRecord(start:end:)`` for each record that
/// ends in them, followed by the other observations of that record. Bytes may begin and end inside
/// a record; such a record is observed in the chunk in which it ends.
public struct WALChunkBuilder: Sendable {
  private var chunk: WALChunk
  private var time: PostgresTimestamp
  private var minute: WALActivity.Minute
  private var finishedMinutes = WALActivity()

  /// - Parameter startLSN: position of the first byte to come.
  /// - Parameter time: the last transaction end before, or now: what the records before the first
  ///   transaction end are booked under.
  public init(
    line: LineID, timeline: TimelineID, systemIdentifier: UInt64, startLSN: LSN,
    time: PostgresTimestamp
  ) {
    chunk = WALChunk(
      summary: WALChunkSummary(
        line: line, timeline: timeline, systemIdentifier: systemIdentifier, startLSN: startLSN,
        endLSN: startLSN),
      activity: WALActivity(), bytes: [], blockRecords: BlockRecords())
    self.time = time
    minute = WALActivity.Minute(minute: WALChunkBuilder.minute(of: time))
  }

  public var startLSN: LSN { chunk.summary.startLSN }
  public var endLSN: LSN { chunk.summary.endLSN }
  public var byteCount: Int { chunk.bytes.count }
  public var isEmpty: Bool { chunk.bytes.isEmpty }
  /// What the next chunk's builder takes as its time.
  public var lastTime: PostgresTimestamp { time }

  /// Adds WAL bytes that follow those before.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    chunk.bytes.append(contentsOf: bytes)
    chunk.summary.endLSN = chunk.summary.endLSN + UInt64(bytes.count)
    minute.walBytes += UInt64(bytes.count)
  }

  /// A whole, verified record ends within the bytes appended so far.
  /// - Parameter start: may lie before the chunk.
  /// - Parameter end: where the next record may begin; with the record's padding, or the rest of a
  ///   segment that was switched from, it may lie after the bytes appended.
  public mutating func observeRecord(start: LSN, end: LSN) {
    if chunk.summary.firstRecordStart == nil { chunk.summary.firstRecordStart = start }
    chunk.summary.lastRecordEnd = end
    chunk.blockRecords?.beginRecord(at: start)
  }

  /// The record observed last is this one: which blocks it touches, and which it makes go away.
  /// Allocates only for records that drop, cut or create files.
  public mutating func observeBlocks(of record: WALRecordView) throws {
    for block in record.blockReferences {
      minute.touchedBlocks.insert(block.locator, fork: block.fork.rawValue, block: block.block)
    }
    try chunk.blockRecords?.add(record)
  }

  /// Pages cannot be made across the record observed last.
  public mutating func observeHardRecord(at start: LSN) { chunk.summary.lastHardLSN = start }

  /// The record observed last ended a transaction (prepared ones too, when they end).
  public mutating func observeTransactionEnd(committed: Bool, time: PostgresTimestamp) {
    self.time = time
    let number = WALChunkBuilder.minute(of: time)
    if number != minute.minute { beginMinute(number) }
    if committed {
      chunk.summary.commits += 1
      minute.commits += 1
    } else {
      chunk.summary.aborts += 1
      minute.aborts += 1
    }
    chunk.summary.earliestTime = min(chunk.summary.earliestTime ?? time, time)
    chunk.summary.latestTime = max(chunk.summary.latestTime ?? time, time)
  }

  /// The record observed last deletes rows of a table.
  public mutating func observeHeapDelete(_ locator: RelFileLocator, rows: UInt64 = 1) {
    minute.heapDeletes[locator, default: 0] += rows
  }

  /// The record that starts at `lsn` creates, drops or cuts a file.
  public mutating func observeFileChange(
    _ kind: WALActivity.FileChange.Kind, _ locator: RelFileLocator, xid: UInt32, lsn: LSN
  ) {
    chunk.activity.fileChanges.append(
      WALActivity.FileChange(kind: kind, locator: locator, xid: xid, lsn: lsn, time: time))
  }

  /// The chunk; traps where nothing was appended.
  public func finish() -> WALChunk {
    precondition(!isEmpty, "a chunk of no bytes")
    var result = chunk
    var last = WALActivity()
    last.minutes = [minute]
    var all = finishedMinutes
    all.append(last)
    result.activity.minutes = all.minutes
    return result
  }

  private mutating func beginMinute(_ number: Int64) {
    var last = WALActivity()
    last.minutes = [minute]
    finishedMinutes.append(last)
    minute = WALActivity.Minute(minute: number)
  }

  /// Minutes since 2000-01-01, rounded down.
  static func minute(of time: PostgresTimestamp) -> Int64 {
    let (quotient, remainder) = time.rawValue.quotientAndRemainder(dividingBy: 60_000_000)
    return remainder < 0 ? quotient - 1 : quotient
  }
}
