import Glibc

/// Threads for calls that block, so that none blocks the cooperative pool.
///
/// ## Purpose
/// Runs closures on threads of its own; callers suspend until theirs has run.
///
/// ## State and invariants
/// 1. Jobs start in the order in which they were given.
/// 2. Every job given before ``shutdown()`` runs; none runs after it.
///
/// ## Concurrency
/// Safe from any task. The queue's length is bounded by the number of suspended callers, each of
/// which holds one place.
public final class BlockingThreads: Sendable {
  private let queue = JobQueue()

  /// Starts `count` threads (at least one), which live until ``shutdown()`` or deinit.
  public init(count: Int) {
    precondition(count > 0, "blocking threads need at least one thread")
    for _ in 0..<count { startThread { [queue] in queue.runUntilClosed() } }
  }

  deinit { queue.close() }

  /// Runs `body` on one of the threads and returns what it returned.
  ///
  /// Not cancellable once given: a disk call that has begun ends when it ends.
  /// - Throws: what `body` throws. Traps after ``shutdown()``.
  public func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      queue.add { continuation.resume(with: Result { try body() }) }
    }
  }

  /// Lets the threads end once the jobs given so far have run. Does not wait for them.
  public func shutdown() { queue.close() }
}

/// A closed-able queue of closures with its threads waiting on a condition variable.
private final class JobQueue: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  // Guarded by `mutex`.
  private var jobs: [@Sendable () -> Void] = []
  private var next = 0
  private var closed = false

  init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func add(_ job: @escaping @Sendable () -> Void) {
    pthread_mutex_lock(mutex)
    precondition(!closed, "job given to blocking threads after their shutdown")
    jobs.append(job)
    pthread_cond_signal(condition)
    pthread_mutex_unlock(mutex)
  }

  func close() {
    pthread_mutex_lock(mutex)
    closed = true
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
  }

  func runUntilClosed() {
    while let job = take() { job() }
  }

  private func take() -> (@Sendable () -> Void)? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while next == jobs.count {
      if closed { return nil }
      pthread_cond_wait(condition, mutex)
    }
    let job = jobs[next]
    next += 1
    if next == jobs.count {
      jobs.removeAll(keepingCapacity: true)
      next = 0
    }
    return job
  }
}

/// Starts a detached thread of 1 MiB of stack that runs `body` to its end.
public func startThread(_ body: @escaping @Sendable () -> Void) {
  final class Box: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var attributes = pthread_attr_t()
  pthread_attr_init(&attributes)
  defer { pthread_attr_destroy(&attributes) }
  pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  pthread_attr_setstacksize(&attributes, 1 << 20)
  var thread = pthread_t()
  let context = Unmanaged.passRetained(Box(body)).toOpaque()
  let status = pthread_create(
    &thread, &attributes,
    { context in
      guard let context else { return nil }
      Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body()
      return nil
    }, context)
  precondition(status == 0, "cannot start a thread: error \(status)")
}
