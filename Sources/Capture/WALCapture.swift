import Dispatch
import DurableIO
import History
import PostgresClient
import PostgresFormat
import Synchronization

/// Streams a compute's WAL into its line.
///
/// ## Purpose
/// Replication stream, or a busy server's WAL files → spool (synced) → verified records → chunks in the object store.
///
/// ## State and invariants
/// 1. `receivedLSN ≥ flushedLSN ≥ uploadedLSN`, and none of the last two ever falls.
/// 2. The server hears of a position only when it is synced in the spool (`local`) or in the store
///    (`objectStore`), and never of one whose records were not verified.
/// 3. Chunks follow each other without a gap; bytes once uploaded are never replaced: those that
///   come again
///    are compared.
/// 4. What waits for the store waits in the spool; in memory are the chunk being filled, and those on their way:
///    one, or in `objectStore` durability a few.
///
/// ## On disk
/// The spool: ``WALSpool``, docs/formats/wal-spool.md.
///
/// ## Crash
/// A new capture on the same spool verifies it, uploads what was not, and goes on at its verified
/// end. Without the
/// spool it asks the server again from the segment in which the store ends.
///
/// ## Concurrency
/// Two threads of its own: one receives, one verifies, syncs and cuts chunks. Each upload is a task. All methods may be called from anywhere.
///
/// ## Not guarded here
/// A server stopped while the spool is full waits for capture; ``stop(drainTo:timeout:)`` lets it
/// go. Two captures of
/// one line: the line's writer epoch decides.
public final class WALCapture: Sendable {
  /// What happened; the newest 256 where nobody reads.
  public let events: AsyncStream<CaptureEvent>
  public let configuration: CaptureConfiguration

  let state: Mutex<CaptureState>
  let spool: WALSpool
  let wake: WakePipe
  let sealSignal = DispatchSemaphore(value: 0)
  let pauseSignal = DispatchSemaphore(value: 0)
  let eventSink: AsyncStream<CaptureEvent>.Continuation
  let line: LineDescription
  /// Bytes from the stream's first position on that the store holds already.
  let known: KnownWAL
  private let filler: Mutex<ChunkFiller?>
  private let threads = Mutex<[NamedThread]>([])
  /// Chunks on their way to the store, by where they begin.
  let uploads = Mutex<[LSN: Task<Void, Never>]>([:])

  /// Opens the spool, verifies it, and finds out where to go on. Nothing runs before ``start()``.
  ///
  /// - Throws: ``CaptureError`` `.spool`, `.spoolFormat`; ``HistoryError`` where the store must be
  ///   read and is not there.
  public static func open(_ configuration: CaptureConfiguration) async throws -> WALCapture {
    let line = configuration.line.description
    let uploaded = await configuration.line.uploadedLSN
    let threads = BlockingThreads(count: 1)
    defer { threads.shutdown() }
    let recovered = try await threads.run {
      try RecoveredSpool(configuration, line: line, uploadedLSN: uploaded)
    }
    var known = KnownWAL(startLSN: recovered.verifiedLSN, bytes: [])
    if recovered.verifiedLSN < uploaded {
      let history = try await LineHistory.open(line.id, store: configuration.store)
      for try await part in history.readWAL(from: recovered.verifiedLSN, to: uploaded) {
        known.bytes += part.bytes
      }
    }
    return try WALCapture(configuration, line, recovered, uploaded: uploaded, known: known)
  }

  private init(
    _ configuration: CaptureConfiguration, _ line: LineDescription, _ recovered: RecoveredSpool,
    uploaded: LSN, known: KnownWAL
  ) throws {
    self.configuration = configuration
    self.line = line
    self.known = known
    spool = recovered.spool
    wake = try WakePipe()
    (events, eventSink) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(256))
    state = Mutex(
      CaptureState(
        received: recovered.verifiedLSN, uploaded: uploaded, timeline: recovered.timeline))
    filler = Mutex(recovered.filler)
  }

  /// Starts streaming and uploading. Returns at once; may be called once.
  public func start() {
    threads.withLock { threads in
      precondition(threads.isEmpty, "capture was started before")
      guard
        let filler = filler.withLock({ filler in
          let taken = filler
          filler = nil
          return taken
        })
      else { return }
      threads = [
        NamedThread("wal-receive") { [self] in receiveUntilStopped() },
        NamedThread("wal-seal") { [self] in sealUntilStopped(filler) },
      ]
    }
    sealSignal.signal()
  }

  public var positions: CapturePositions {
    let now = configuration.clock.now()
    return state.withLock { state in
      let received = state.level(.received)
      return CapturePositions(
        serverLSN: max(state.serverLSN, received), receivedLSN: received,
        flushedLSN: state.level(.flushed), uploadedLSN: state.uploaded,
        lagBytes: max(state.serverLSN, received) - state.uploaded, lag: state.lag(now: now),
        spoolBytes: state.spooledBytes, isStreaming: state.isStreaming || state.isReadingFiles,
        heldUntil: state.heldUntil,
        isStoreReachable: state.isStoreReachable, failure: state.failure?.description)
    }
  }

  /// Uploads what is there at once and returns ``CapturePositions/uploadedLSN`` when it is `lsn` or
  /// more.
  ///
  /// An LSN that the server has flushed but capture has not received yet is waited for.
  /// - Throws: ``CaptureError`` `.timeout`, `.stopped`, or why capture stopped for good.
  public func flush(to lsn: LSN, timeout: Duration) async throws -> LSN {
    state.withLock { $0.flushTarget = max($0.flushTarget, lsn) }
    sealSignal.signal()
    wake.wake()
    return try await wait(.uploaded, lsn, timeout, "upload WAL")
  }

  /// Returns ``CapturePositions/receivedLSN`` when it is `lsn` or more.
  /// - Throws: as ``flush(to:timeout:)``.
  public func waitReceived(_ lsn: LSN, timeout: Duration) async throws -> LSN {
    wake.wake()
    return try await wait(.received, lsn, timeout, "receive WAL")
  }

  /// Waits until the server, shutting down, has sent all of its WAL; returns its end.
  ///
  /// Must be called before the shutdown begins, after ``expectServerEnd(timeout:)``.
  /// - Throws: as ``flush(to:timeout:)``.
  public func waitServerEnd(timeout: Duration) async throws -> LSN {
    try await wait(.serverEnded, .invalid, timeout, "wait for the server's last WAL")
  }

  /// Stops: after uploading up to `drainTo` where it is given, else at once. What is not uploaded
  /// stays in
  /// the spool.
  ///
  /// On return no thread or task of this capture runs. Where the drain throws, capture has stopped
  /// all the same.
  /// - Throws: as ``flush(to:timeout:)``.
  public func stop(drainTo lsn: LSN? = nil, timeout: Duration = .seconds(30)) async throws {
    var drainFailure: (any Error)?
    if let lsn {
      do { _ = try await flush(to: lsn, timeout: timeout) } catch { drainFailure = error }
    }
    state.withLock { $0.isStopping = true }
    signalAll()
    let threads = threads.withLock { $0 }
    await withCheckedContinuation { continuation in
      _ = NamedThread("wal-stop") {
        for thread in threads { thread.join() }
        continuation.resume()
      }
    }
    let uploads = uploads.withLock { Array($0.values) }
    for upload in uploads { upload.cancel() }
    for upload in uploads { await upload.value }
    failWaiters(CaptureError(.stopped, "capture WAL"))
    spool.close()
    eventSink.finish()
    if let drainFailure { throw drainFailure }
  }
}

/// Bytes that the store holds and the server will send again.
struct KnownWAL: Sendable {
  var startLSN: LSN
  var bytes: [UInt8]

  /// The first position at which `received`, which begins at `lsn`, says something else.
  func firstDifference(_ received: UnsafeRawBufferPointer, at lsn: LSN) -> LSN? {
    let end = startLSN + UInt64(bytes.count)
    guard lsn >= startLSN, lsn < end else { return nil }
    let offset = Int(lsn - startLSN)
    for index in 0..<min(received.count, bytes.count - offset)
    where received[index] != bytes[offset + index] {
      return lsn + UInt64(index)
    }
    return nil
  }
}
