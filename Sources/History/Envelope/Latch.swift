import Glibc

/// One result that one thread waits for and one task gives.
final class Latch<Value: Sendable>: @unchecked Sendable {
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
  // Written before the semaphore is posted, read after it was waited for.
  private var result: Result<Value, any Error>?

  init() { sem_init(semaphore, 0, 0) }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  func set(_ result: Result<Value, any Error>) {
    self.result = result
    sem_post(semaphore)
  }

  func wait() -> Result<Value, any Error> {
    while sem_wait(semaphore) != 0 {}  // interrupted by a signal
    guard let result else { preconditionFailure("latch opened without a result") }
    return result
  }
}
