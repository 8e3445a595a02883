import Glibc
import Synchronization

/// What the volume's own thread is asked to do, and the thread.
final class Destaging: Sendable {
  struct Requests: Sendable {
    var hasWork = false
    var pressure = false
    var stops = false
    var isRunning = false
  }

  private let gate = SyncGate()
  private nonisolated(unsafe) var requests = Requests()
  /// One destaging at a time.
  let turn = ShortLock()
  private let pressureRaised = Atomic<Bool>(false)
  private let nextPreparation = Atomic<UInt64>(0)
  private let oldest: Atomic<UInt32>
  private let swept = Atomic<Bool>(false)
  /// Leftovers of an earlier crash were looked for since the open.
  var hasSwept: Bool { swept.load(ordering: .relaxed) }
  func markSwept() { swept.store(true, ordering: .relaxed) }
  /// Number of the oldest segment on disk.
  var oldestSegment: UInt32 {
    get { oldest.load(ordering: .relaxed) }
    set { oldest.store(newValue, ordering: .relaxed) }
  }

  init(oldestSegment: UInt32) { oldest = Atomic(oldestSegment) }

  func wake() { change { $0.hasWork = true } }

  /// Called after each write: cheap unless something is to be done.
  func noteLogGrowth(_ logged: UInt64, isOverBudget: Bool) {
    if isOverBudget != pressureRaised.load(ordering: .relaxed) {
      if !pressureRaised.exchange(isOverBudget, ordering: .relaxed), isOverBudget {
        change { $0.pressure = true }
      }
    }
    // Every 16 MiB of log the thread looks whether the next segment is ready.
    let next = nextPreparation.load(ordering: .relaxed)
    if logged >= next,
      nextPreparation.compareExchange(
        expected: next, desired: logged + (16 << 20), ordering: .relaxed
      ).exchanged
    {
      wake()
    }
  }

  /// Lets the thread end without waiting for it.
  func stop() { change { $0.stops = true } }

  func stopAndWait() {
    gate.withLock {
      requests.stops = true
      gate.wakeAll()
      while requests.isRunning { gate.wait() }
    }
  }

  /// Starts a thread that calls `body` for each batch of requests until stopped.
  func start(_ body: @escaping @Sendable (Requests) -> Void) {
    gate.withLock { requests.isRunning = true }
    let box = Unmanaged.passRetained(
      ThreadBody { [self] in
        while let batch = next() { body(batch) }
        gate.withLock {
          requests.isRunning = false
          gate.wakeAll()
        }
      })
    var thread = pthread_t()
    let status = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, box.toOpaque())
    precondition(status == 0, "create the volume's thread: \(status)")
    pthread_detach(thread)
  }

  private func next() -> Requests? {
    gate.withLock {
      while !requests.hasWork, !requests.pressure, !requests.stops { gate.wait() }
      if requests.stops { return nil }
      let batch = requests
      requests.hasWork = false
      requests.pressure = false
      return batch
    }
  }

  private func change(_ body: (inout Requests) -> Void) {
    gate.withLock {
      body(&requests)
      gate.wakeAll()
    }
  }
}

private final class ThreadBody: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}
