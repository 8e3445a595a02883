import Glibc

/// One result that one thread waits for and one task or thread gives.
package final class Latch<Value: Sendable>: @unchecked Sendable {
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
  // Written before the semaphore is posted, read after it was waited for.
  private var result: Result<Value, any Error>?

  package init() { sem_init(semaphore, 0, 0) }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  package func set(_ result: Result<Value, any Error>) {
    self.result = result
    sem_post(semaphore)
  }

  package func wait() -> Result<Value, any Error> {
    while sem_wait(semaphore) != 0 {}  // interrupted by a signal
    guard let result else { preconditionFailure("latch opened without a result") }
    return result
  }
}

/// Runs an asynchronous call and blocks this thread, which must not belong to the cooperative
/// pool, until it ends.
package func waitFor<Value: Sendable>(
  _ body: @escaping @Sendable () async throws -> Value
) throws -> Value {
  let latch = Latch<Value>()
  Task.detached {
    do { latch.set(.success(try await body())) } catch { latch.set(.failure(error)) }
  }
  return try latch.wait().get()
}
