import CFuse
import Glibc

/// A mutex with one condition, for threads that sleep until others change something.
final class ThreadCondition: @unchecked Sendable {
  // Both live at fixed addresses from init to deinit.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init() {
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func withLock<Result>(_ body: () throws -> Result) rethrows -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }

  /// Gives the lock up while it sleeps. Call within ``withLock(_:)``; may wake without cause.
  func wait() { pthread_cond_wait(condition, mutex) }

  /// - Parameter deadline: on the monotonic clock.
  /// - Returns: `false` if it has passed.
  func wait(until deadline: inout timespec) -> Bool {
    pthread_cond_timedwait(condition, mutex, &deadline) != ETIMEDOUT
  }

  func wakeOne() { pthread_cond_signal(condition) }
  func wakeAll() { pthread_cond_broadcast(condition) }
}
