import Synchronization

/// A mutex around a closure, for state that several types share.
///
/// `Mutex` itself asks that what goes in and out of its closure may leave the thread; pointers
/// into a
/// caller's buffer may not, and need not here.
final class ShortLock: Sendable {
  private let mutex = Mutex(())

  @inline(__always)
  func withLock<Result>(_ body: () throws -> Result) rethrows -> Result {
    var result: Result?
    try mutex.withLock { _ in result = try body() }
    return result.unsafelyUnwrapped
  }
}
