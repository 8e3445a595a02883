import Dispatch
import Synchronization

/// Connections for async code.
///
/// *Purpose*: runs blocking database work on threads of its own, so that no call blocks the
/// cooperative pool.
///
/// *State and invariants*: 1. `size` threads, each with at most one connection, opened when first
/// needed.
/// 2. A connection is handed out only outside a transaction and, as far as is known, alive. 3. The
///   queue holds at
/// most `queueLimit` jobs; more are refused.
///
/// *Crash*: a connection that was lost is replaced before the next job; that job waits at most
/// `reconnectWithin`.
/// A job whose connection is lost while it runs fails, since only its author knows whether it may
/// run twice.
///
/// *Concurrency*: every method may be called from anywhere.
///
/// *Not guarded here*: a job that never returns keeps its thread; ``close()`` waits for it. A pool
/// that is
/// never closed keeps its threads.
public final class PostgresConnectionPool: Sendable {
  private typealias Job = @Sendable (Result<PostgresConnection, any Error>) -> Void

  private struct State {
    var queue: [UInt64: Job] = [:]
    var order: [UInt64] = []
    var nextNumber: UInt64 = 0
    var isClosed = false
  }

  public let size: Int
  private let parameters: ConnectionParameters
  private let queueLimit: Int
  private let reconnectWithin: Duration
  private let prepare: @Sendable (PostgresConnection) throws -> Void
  private let state = Mutex(State())
  private let available = DispatchSemaphore(value: 0)
  private let threads = Mutex<[NamedThread]>([])

  /// Makes a pool; no connection is opened yet.
  /// - Parameters:
  ///   - size: threads and connections, 1 to 64.
  ///   - reconnectWithin: how long a job waits for a server that does not answer.
  ///   - prepare: run on each new connection before its first job.
  public init(
    _ parameters: ConnectionParameters, size: Int, queueLimit: Int = 1024,
    reconnectWithin: Duration = .seconds(10), name: String = "postgres",
    prepare: @escaping @Sendable (PostgresConnection) throws -> Void = { _ in }
  ) {
    precondition((1...64).contains(size), "pool size \(size)")
    self.parameters = parameters
    self.size = size
    self.queueLimit = queueLimit
    self.reconnectWithin = reconnectWithin
    self.prepare = prepare
    threads.withLock { threads in
      threads = (0..<size).map { index in
        NamedThread("\(name)-\(index)") { [self] in work() }
      }
    }
  }

  /// Runs `body` with a connection of the pool on one of its threads and returns what it returns.
  ///
  /// A transaction that `body` leaves open is rolled back. Cancellation of the task takes a waiting
  /// job out of
  /// the queue; a running one is left to end.
  /// - Throws: what `body` throws; ``PostgresError`` `.connectFailed`, `.poolExhausted` or
  ///   `.closed`.
  public func withConnection<Value: Sendable>(
    _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    let number = state.withLock { state in
      state.nextNumber += 1
      return state.nextNumber
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        enqueue(number) { connection in
          continuation.resume(with: Result { try body(connection.get()) })
        }
      }
    } onCancel: {
      let job = state.withLock { $0.queue.removeValue(forKey: number) }
      job?(.failure(CancellationError()))
    }
  }

  /// Jobs that no connection has taken yet.
  public var waitingJobs: Int { state.withLock { $0.queue.count } }

  /// Refuses new jobs, lets accepted ones end, and closes the connections. Idempotent.
  public func close() async {
    state.withLock { $0.isClosed = true }
    for _ in 0..<size { available.signal() }
    let threads = threads.withLock { $0 }
    await withCheckedContinuation { continuation in
      _ = NamedThread("postgres-close") {
        for thread in threads { thread.join() }
        continuation.resume()
      }
    }
  }

  private func enqueue(_ number: UInt64, _ job: @escaping Job) {
    let refusal: (any Error)? = state.withLock { state in
      if Task.isCancelled { return CancellationError() }
      if state.isClosed { return PostgresError(.closed, "connection pool was closed") }
      if state.queue.count >= queueLimit {
        return PostgresError(.poolExhausted, "\(queueLimit) jobs already wait for a connection")
      }
      state.queue[number] = job
      state.order.append(number)
      return nil
    }
    if let refusal {
      job(.failure(refusal))
    } else {
      available.signal()
    }
  }
}

extension PostgresConnectionPool {
  private enum Next {
    case job(Job)
    case nothing
    case end
  }

  private func next() -> Next {
    state.withLock { state in
      while let number = state.order.first {
        state.order.removeFirst()
        if let job = state.queue.removeValue(forKey: number) { return .job(job) }
      }
      return state.isClosed ? .end : .nothing
    }
  }

  /// The life of one thread.
  private func work() {
    var connection: PostgresConnection?
    while true {
      available.wait()
      switch next() {
      case .end: return
      case .nothing: continue
      case .job(let job):
        do {
          let ready = try connected(connection)
          connection = ready
          job(.success(ready))
          if ready.isInTransaction {
            // A failure means that the session is gone, which `connected` sees before the next job.
            _ = try? ready.query("ROLLBACK")
          }
        } catch {
          connection = nil
          job(.failure(error))
        }
      }
    }
  }

  /// The connection if it lives, else a new one, tried until `reconnectWithin` is over or the pool
  /// closes.
  private func connected(_ connection: PostgresConnection?) throws -> PostgresConnection {
    if let connection, connection.isAlive { return connection }
    let clock = ContinuousClock()
    let deadline = clock.now + reconnectWithin
    var pause = Duration.milliseconds(25)
    while true {
      do {
        let connection = try PostgresConnection(parameters)
        try prepare(connection)
        return connection
      } catch let error as PostgresError where error.isConnectionLoss {
        let isClosed = state.withLock { $0.isClosed }
        guard !isClosed, clock.now + pause < deadline, error.isWorthRetrying else { throw error }
        blockThread(for: pause)
        pause = min(pause * 2, .milliseconds(500))
      }
    }
  }
}

extension PostgresError {
  /// Not so where the server answered and refused the user, password or database, or could not read what it needs for
  /// a session: it will again.
  var isWorthRetrying: Bool {
    !Self.lastingRefusals.contains { message.contains($0) || (hint ?? "").contains($0) }
  }

  /// Of a session that does not come about libpq tells no SQLSTATE.
  private static let lastingRefusals = [
    "authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied",
    "could not read block", "invalid page in block",
  ]
}

/// Puts the calling thread to sleep; never called on the cooperative pool.
private func blockThread(for pause: Duration) {
  let nanoseconds = pause / .nanoseconds(1)
  _ = DispatchSemaphore(value: 0).wait(timeout: .now() + .nanoseconds(Int(nanoseconds)))
}
