import CFuse
import Glibc

/// Opens once; threads wait for it, with a limit where they give one.
final class Gate: @unchecked Sendable {
  private let condition = ThreadCondition()
  // Guarded by `condition`.
  private var opened = false

  func open() {
    condition.withLock {
      opened = true
      condition.wakeAll()
    }
  }

  func wait() {
    condition.withLock {
      while !opened { condition.wait() }
    }
  }

  /// - Returns: `false` if it was still shut when the time was up.
  func wait(atMost limit: Duration) -> Bool {
    var deadline = timespec()
    clock_gettime(CLOCK_MONOTONIC, &deadline)
    let (seconds, attoseconds) = limit.components
    let nanoseconds = deadline.tv_nsec + Int(attoseconds / 1_000_000_000)
    deadline.tv_sec += Int(seconds) + nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000
    return condition.withLock {
      while !opened {
        if !condition.wait(until: &deadline) { return opened }
      }
      return true
    }
  }
}
