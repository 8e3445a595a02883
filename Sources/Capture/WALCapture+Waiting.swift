import PostgresFormat

extension WALCapture {
  /// Suspends until a position is reached.
  func wait(
    _ level: CaptureState.Level, _ lsn: LSN, _ timeout: Duration, _ operation: String
  ) async throws -> LSN {
    let key = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    let sleep = configuration.clock.sleep
    let deadline = Task { [weak self] in
      try await sleep(timeout)
      guard let self else { return }
      let detail =
        state.withLock { $0.isStoreReachable }
        ? "not done after \(timeout)"
        : "the object store does not answer; nothing is lost, and it goes on by itself when it does"
      endWaiter(key, CaptureError(.timeout, operation, lsn: lsn, detail: detail))
    }
    defer { deadline.cancel() }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let outcome: Result<LSN, any Error>? = state.withLock { state in
          if let failure = state.failure { return .failure(failure) }
          if state.isStopping { return .failure(CaptureError(.stopped, operation)) }
          if Task.isCancelled { return .failure(CancellationError()) }
          if level != .serverEnded, state.level(level) >= lsn {
            return .success(state.level(level))
          }
          state.waiters[key] = CaptureState.Waiter(
            level: level, lsn: lsn, continuation: continuation)
          return nil
        }
        if let outcome { continuation.resume(with: outcome) }
      }
    } onCancel: {
      endWaiter(key, CancellationError())
    }
  }

  /// Wakes those whose position was reached.
  func resumeSatisfied() {
    for (waiter, lsn) in state.withLock({ $0.takeSatisfied() }) {
      waiter.continuation.resume(returning: lsn)
    }
  }

  func resumeServerEnd(at lsn: LSN) {
    let ended = state.withLock { state in
      let ended = state.waiters.filter { $0.value.level == .serverEnded }
      for key in ended.keys { state.waiters[key] = nil }
      return ended.values.map(\.continuation)
    }
    for continuation in ended { continuation.resume(returning: lsn) }
  }

  private func endWaiter(_ key: UInt64, _ error: any Error) {
    let waiter = state.withLock { $0.waiters.removeValue(forKey: key) }
    waiter?.continuation.resume(throwing: error)
  }

  func failWaiters(_ error: any Error) {
    let waiters = state.withLock { state in
      let all = state.waiters.values.map(\.continuation)
      state.waiters = [:]
      return all
    }
    for waiter in waiters { waiter.resume(throwing: error) }
  }

  /// Ends capture for good; the first reason counts.
  func fail(_ error: CaptureError) {
    let isFirst = state.withLock { state in
      guard state.failure == nil, !state.isStopping else { return false }
      state.failure = error
      return true
    }
    if isFirst { eventSink.yield(.failed(error)) }
    failWaiters(error)
    signalAll()
  }

  var isEnding: Bool { state.withLock { $0.isStopping || $0.failure != nil } }

  func signalAll() {
    sealSignal.signal()
    pauseSignal.signal()
    wake.wake()
  }
}
