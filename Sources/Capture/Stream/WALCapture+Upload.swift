import History
import PostgresFormat

/// Uploads: each chunk is tried until it is in the store; the line's writer keeps their order.
extension WALCapture {
  func startUpload(_ filled: ChunkFiller.Filled) {
    let start = filled.range.lowerBound
    uploads.withLock { uploads in
      uploads[start] = Task {
        await uploadUntilStored(filled)
        self.uploads.withLock { $0[start] = nil }
      }
    }
  }

  private func uploadUntilStored(_ filled: ChunkFiller.Filled) async {
    var attempt = 0
    while !isEnding {
      let started = configuration.clock.uptime()
      do {
        try await append(filled)
        return didUpload(filled, in: configuration.clock.uptime() - started)
      } catch let error as HistoryError
        where error.code == .fenced || error.code == .notContiguous
      {
        return fail(
          CaptureError(.lineRefused, "upload WAL", lsn: filled.range.lowerBound, cause: error))
      } catch {
        if Task.isCancelled { return }
        noteUnreachable(error)
        attempt += 1
        do {
          try await configuration.clock.sleep(
            configuration.clock.pause(attempt: attempt, configuration.retryPause))
        } catch {
          return
        }
      }
    }
  }

  /// Appends the chunk; what fails after it was stored is not a failure of the upload.
  private func append(_ filled: ChunkFiller.Filled) async throws {
    do {
      try await configuration.line.appendChunk(filled.chunk, inTurn: true)
    } catch {
      guard await configuration.line.uploadedLSN >= filled.range.upperBound else { throw error }
      noteUnreachable(error)
    }
  }

  private func didUpload(_ filled: ChunkFiller.Filled, in time: Duration) {
    let wasReachable = state.withLock { state in
      state.didUpload(upTo: filled.range.upperBound, in: time)
      defer { state.isStoreReachable = true }
      return state.isStoreReachable
    }
    if !wasReachable { eventSink.yield(.storeReachable) }
    sealSignal.signal()
    if configuration.durability != .local { wake.wake() }
    resumeSatisfied()
  }

  private func noteUnreachable(_ error: any Error) {
    let wasReachable = state.withLock { state in
      defer { state.isStoreReachable = false }
      return state.isStoreReachable
    }
    if wasReachable { eventSink.yield(.storeUnreachable(error)) }
  }
}
