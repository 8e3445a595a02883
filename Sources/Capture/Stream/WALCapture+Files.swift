import DurableIO
import PostgresClient
import PostgresFormat

/// The receiving thread while the server is busy: WAL from the server's own files.
///
/// PostgreSQL wakes its walsenders at every flush: a signal from the backend that commits, two changes of
/// process, a message, the receiving thread. Under load that costs more than the WAL itself (measured in
/// docs/decisions/2026-11-26-wal-from-files.md). So where commits do not wait for capture and `pg_wal` is at hand,
/// a busy stream is closed; the server is asked twenty times a second how far its WAL is flushed, and the bytes up to
/// there, which `issue_xlog_fsync` has made durable, are read from the segment files. The slot keeps them there.
extension WALCapture {
  /// How often a busy server is asked.
  static let filePollInterval: Duration = .milliseconds(50)
  /// A server that writes nothing for this long is streamed from again, so that an idle one is not asked anything.
  private static let quietAfter: Duration = .seconds(5)
  /// The slot moves at least so often.
  private static let slotInterval: Duration = .seconds(1)
  /// After files could not be read, they are left alone for this long.
  private static let pauseAfterFailure: Duration = .seconds(60)

  /// Whether files may take the stream's place now.
  var mayReadFiles: Bool {
    guard configuration.walDirectory != nil, configuration.durability == .local else {
      return false
    }
    let now = configuration.clock.uptime()
    return state.withLock { !$0.wantsStream && now >= $0.filesNotBefore }
  }

  /// Reads the server's WAL files until it is quiet, the stream is wanted, or something is not as it should be; the
  /// stream then goes on where this ended.
  func followFiles() {
    state.withLock { $0.isReadingFiles = true }
    defer { state.withLock { $0.isReadingFiles = false } }
    do {
      try followFilesUntilQuiet()
    } catch {
      eventSink.yield(error is FileError ? .spoolFailed(error) : .disconnected(error))
    }
  }

  private func followFilesUntilQuiet() throws {
    guard let directory = configuration.walDirectory else { return }
    var parameters = configuration.connection
    parameters.applicationName = configuration.slotName
    parameters.isReplication = false
    let connection = try PostgresConnection(try configuration.pin(parameters))
    defer { connection.close() }
    let files = WALFiles(
      directory: directory, segmentSize: UInt64(line.segmentSize),
      files: configuration.walFileSystem)
    defer { files.close() }
    let generation = state.withLock { $0.generation }
    var slot = SlotAdvance(name: configuration.slotName)
    var lastWAL = configuration.clock.uptime()
    while !isEnding, mayReadFiles, state.withLock({ $0.generation }) == generation {
      if try takeFlushed(connection, files, generation) { lastWAL = configuration.clock.uptime() }
      let now = configuration.clock.uptime()
      if now - lastWAL >= WALCapture.quietAfter { return }
      let safe = state.withLock { $0.reportable(configuration.durability) }
      try slot.advance(to: safe, now: now, every: WALCapture.slotInterval, connection)
      wake.wait(atMost: WALCapture.filePollInterval)
    }
  }

  /// Takes what the server has flushed since; true where that was anything.
  private func takeFlushed(
    _ connection: PostgresConnection, _ files: WALFiles, _ generation: Int
  ) throws -> Bool {
    if isSpoolFull { return true }
    let flushed = try connection.query("SELECT pg_current_wal_flush_lsn() AS lsn")
      .rows[0].value("lsn", as: LSN.self)
    var hasTaken = false
    while true {
      let (start, timeline) = state.withLock { ($0.received, $0.timeline) }
      guard start < flushed, !isSpoolFull, !isEnding else { return hasTaken }
      let bytes = try readFile(files, from: start, to: flushed, timeline)
      try receive(bytes, at: start, serverEnd: flushed, generation)
      // Sealing found damage meanwhile: what came after it does not count.
      guard state.withLock({ $0.received }) > start else { return hasTaken }
      hasTaken = true
    }
  }

  private func readFile(
    _ files: WALFiles, from start: LSN, to end: LSN, _ timeline: TimelineID
  ) throws -> UnsafeRawBufferPointer {
    do {
      return try files.read(from: start, to: end, timeline: timeline)
    } catch let error as FileError {
      let now = configuration.clock.uptime()
      state.withLock { $0.filesNotBefore = now + WALCapture.pauseAfterFailure }
      throw PostgresError(.unexpectedReply, "\(error); the stream is used instead")
    }
  }

  /// Goes back to streaming, and stays there: only a stream tells when a server that shuts down has sent all.
  ///
  /// Call before the shutdown begins. Returns when the stream is open, or when `timeout` is over: then the
  /// wait for the server's end fails, and what is missing is read at the next start.
  public func expectServerEnd(timeout: Duration) async throws {
    let deadline = configuration.clock.uptime() + timeout
    state.withLock { $0.wantsStream = true }
    wake.wake()
    while configuration.clock.uptime() < deadline {
      let isReady = state.withLock {
        ($0.isStreaming && !$0.isReadingFiles) || $0.isStopping || $0.failure != nil
      }
      if isReady { return }
      try await configuration.clock.sleep(.milliseconds(2))
    }
  }
}

/// Whether a stream brings so many messages that reading files is cheaper.
struct StreamLoad {
  /// Messages of a second that make it busy.
  static let busyMessages = 200
  private var windowStart: Duration
  private var messages = 0

  init(now: Duration) { windowStart = now }

  /// Counts a message of WAL.
  /// - Returns: whether the second that ends with it was a busy one.
  mutating func note(now: Duration) -> Bool {
    messages += 1
    guard now - windowStart >= .seconds(1) else { return false }
    defer {
      windowStart = now
      messages = 0
    }
    return messages >= StreamLoad.busyMessages && now - windowStart < .seconds(2)
  }
}

/// Moves the slot that keeps the server's WAL. Source: `pg_replication_slot_advance` in
/// `replication/slotfuncs.c`.
private struct SlotAdvance {
  let name: String
  private var reached = LSN.invalid
  private var movedAt = Duration.zero

  init(name: String) { self.name = name }

  mutating func advance(
    to lsn: LSN, now: Duration, every interval: Duration, _ connection: PostgresConnection
  ) throws {
    guard lsn > reached, now - movedAt >= interval else { return }
    movedAt = now
    do {
      // One that stands further on already is left there.
      try connection.query(
        """
        SELECT pg_replication_slot_advance(slot_name, $2::text::pg_lsn) FROM pg_replication_slots
        WHERE slot_name = $1 AND restart_lsn < $2::text::pg_lsn
        """, parameters: [.text(name), PostgresValue(lsn)])
      reached = lsn
    } catch let error as PostgresError where error.sqlState == "55006" {
      // The walsender of the stream that was closed is still letting go.
    }
  }
}
