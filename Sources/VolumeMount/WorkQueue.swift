/// One thread that does what it is given, in order.
///
/// For notifications to the kernel: they wait for page locks that a worker may have to free by
/// answering a read, so no worker may send one itself.
final class WorkQueue: @unchecked Sendable {
  private let condition = ThreadCondition()
  // Guarded by `condition`.
  private var jobs: [@Sendable () -> Void] = []
  private var isClosed = false
  private let ended = Gate()

  init(name: String) throws {
    try startThread(name) { [self] in
      while let job = next() { job() }
      ended.open()
    }
  }

  /// - Returns: `false` if the queue is closed; `job` will not run.
  func add(_ job: @escaping @Sendable () -> Void) -> Bool {
    condition.withLock {
      guard !isClosed else { return false }
      jobs.append(job)
      condition.wakeOne()
      return true
    }
  }

  /// Takes no more jobs and returns when those it has are done.
  func close() {
    condition.withLock {
      isClosed = true
      condition.wakeAll()
    }
    ended.wait()
  }

  private func next() -> (@Sendable () -> Void)? {
    condition.withLock {
      while jobs.isEmpty, !isClosed { condition.wait() }
      return jobs.isEmpty ? nil : jobs.removeFirst()
    }
  }
}
