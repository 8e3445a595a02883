import Dispatch
import DurableIO
import History
import PostgresFormat

/// The sealing thread: verify, sync, cut chunks, release the spool.
extension WALCapture {
  /// The life of the sealing thread.
  func sealUntilStopped(_ first: ChunkFiller) {
    var filler = first
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { buffer.deallocate() }
    var failures = SealFailures()
    while true {
      do {
        if try sealOnce(&filler, buffer) { failures = SealFailures() }
      } catch {
        filler.rewind()
        state.withLock { $0.rewind() }
        wake.wake()
        if let final = failures.note(error, at: filler.lastRecordEnd) { return fail(final) }
        eventSink.yield(error is FileError ? .spoolFailed(error) : .damagedWAL(error))
        pauseSealing(
          configuration.clock.pause(
            attempt: failures.count, configuration.retryPause))
      }
      switch nextSealAction() {
      case .stop: return
      case .seal: continue
      case .wait(let duration): pauseSealing(duration)
      }
    }
  }

  private func nextSealAction() -> CaptureState.SealAction {
    let now = configuration.clock.uptime()
    return state.withLock {
      $0.sealAction(
        now: now, interval: configuration.batchInterval, limit: configuration.chunkLimit,
        durability: configuration.durability)
    }
  }

  /// Seals what is due, hands a chunk over, and frees what the spool no longer needs. Returns
  /// whether
  /// anything was sealed.
  private func sealOnce(
    _ filler: inout ChunkFiller, _ buffer: UnsafeMutableRawBufferPointer
  ) throws -> Bool {
    let cuts = state.withLock { state in
      defer { state.cuts = [] }
      return state.cuts
    }
    for cut in cuts { filler.cut(at: cut.startLSN, cut.timeline) }
    var hasSealed = false
    if case .seal(let end) = nextSealAction() {
      hasSealed = true
      let result = try filler.verify(upTo: end, in: spool, buffer)
      try spool.sync()
      filler.didSync()
      let now = configuration.clock.uptime()
      state.withLock { $0.didSeal(upTo: end, firstCommit: result.firstCommit, now: now) }
      wake.wake()
      resumeSatisfied()
    }
    // The next chunk fills while the one before travels.
    try filler.catchUp(in: spool, buffer)
    try spool.release(below: min(filler.chunkContext, state.withLock { $0.uploaded }))
    while mayUpload() {
      guard let filled = filler.take() else {
        state.withLock { $0.taken = max($0.taken, $0.flushed) }
        break
      }
      let now = configuration.clock.uptime()
      state.withLock { $0.didSetOut(upTo: filled.range.upperBound, now: now) }
      startUpload(filled)
      try filler.catchUp(in: spool, buffer)
    }
    return hasSealed
  }

  private func mayUpload() -> Bool {
    let now = configuration.clock.uptime()
    return state.withLock { $0.pace(now: now, configuration.durability) } == .zero
  }

  private func pauseSealing(_ duration: Duration?) {
    guard let duration else {
      sealSignal.wait()
      return
    }
    let nanoseconds = Int(duration / .nanoseconds(1))
    _ = sealSignal.wait(timeout: .now() + .nanoseconds(max(nanoseconds, 1)))
  }
}

/// How often sealing failed in a row.
private struct SealFailures {
  var count = 0
  private var damagedAt: LSN?
  private var damages = 0

  /// The same record damaged so often is not the stream's fault.
  private static let damageLimit = 3

  /// Returns the error that ends capture where trying again is no use.
  mutating func note(_ error: any Error, at lsn: LSN) -> CaptureError? {
    count += 1
    guard let damage = error as? FormatError else { return nil }
    damages = damagedAt == lsn ? damages + 1 : 1
    damagedAt = lsn
    guard damages >= SealFailures.damageLimit else { return nil }
    return CaptureError(.damagedWAL, "verify WAL", lsn: damage.lsn ?? lsn, cause: damage)
  }
}
