import Synchronization

/// Tells waiting tasks that something changed; a change between looking and waiting is not missed.
final class Signal: Sendable {
  private struct State {
    var generation = 0
    var nextWaiter = 0
    var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
  }

  private let state = Mutex(State())

  /// Read before looking at what may change; passed to ``wait(since:timeout:)``.
  var generation: Int { state.withLock { $0.generation } }

  func fire() {
    let waiters = state.withLock { state in
      state.generation += 1
      defer { state.waiters = [:] }
      return state.waiters.values
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Returns once fired since `generation` was read, after `timeout`, or when the task is
  /// cancelled.
  func wait(since generation: Int, timeout: Duration) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.wait(since: generation) }
      group.addTask {
        // Cancelled when the signal came first; then there is nothing left to do.
        try? await Task.sleep(for: timeout)
      }
      await group.next()
      group.cancelAll()
    }
  }

  private func wait(since generation: Int) async {
    let number = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if state.generation != generation || Task.isCancelled { return true }
          state.waiters[number] = continuation
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: number) }?.resume()
    }
  }
}
