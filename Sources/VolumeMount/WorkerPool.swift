import Synchronization

/// Keeps just enough of a session's workers waiting for requests.
///
/// The kernel wakes waiting workers in turn, so each one more than needed is another cold stack and
/// another idle processor to wake (best of 12 on 2 cores, an 8 KiB write and an `lseek` after it:
/// 25 µs with 16 waiting workers, 18 µs with 2). Yet many must be there when requests wait for a
/// disk or a remote base. So a few wait, the rest are parked, and a worker that takes a request
/// which may be slow while nobody else waits calls one of them.
///
/// *Concurrency.* Counting is atomic; parking has a mutex. No call is lost: a worker that parks
/// looks again, under the mutex, whether somebody still waits.
final class WorkerPool: @unchecked Sendable {
  private let condition = ThreadCondition()
  // Guarded by `condition`.
  private var isClosed = false
  private var calls = 0
  private let receiving = Atomic<Int>(0)
  private let parked = Atomic<Int>(0)
  private let wanted: Int

  /// Requests for which a worker must have been superfluous before it parks; keeps it from coming
  /// and going with every burst.
  private static let patience = 64

  /// - Parameter wanted: workers that should wait for requests when nothing happens.
  init(wanted: Int) { self.wanted = wanted }

  /// Announces that the calling worker will wait for a request, or parks it first if it has been
  /// superfluous for long.
  /// - Parameter surplus: the worker's own count, 0 at first.
  func beginReceiving(_ surplus: inout Int) {
    if receiving.add(1, ordering: .sequentiallyConsistent).oldValue < wanted {
      surplus = 0
      return
    }
    surplus += 1
    guard surplus > WorkerPool.patience else { return }
    surplus = 0
    receiving.subtract(1, ordering: .sequentiallyConsistent)
    park()
    receiving.add(1, ordering: .sequentiallyConsistent)
  }

  /// Ends what ``beginReceiving(_:)`` began, and calls a parked worker if nobody waits any more.
  func endReceiving(mayBeSlow: Bool) {
    let others = receiving.subtract(1, ordering: .sequentiallyConsistent).newValue
    guard others == 0, mayBeSlow, parked.load(ordering: .sequentiallyConsistent) > 0 else { return }
    condition.withLock {
      if calls < parked.load(ordering: .relaxed) {
        calls += 1
        condition.wakeOne()
      }
    }
  }

  /// Lets every parked worker go on, now and later.
  func close() {
    condition.withLock {
      isClosed = true
      condition.wakeAll()
    }
  }

  private func park() {
    condition.withLock {
      parked.add(1, ordering: .sequentiallyConsistent)
      // Whoever took a request since this worker stepped back may have seen nobody parked.
      if receiving.load(ordering: .sequentiallyConsistent) > 0 {
        while calls == 0, !isClosed { condition.wait() }
        if calls > 0 { calls -= 1 }
      }
      parked.subtract(1, ordering: .sequentiallyConsistent)
    }
  }
}
