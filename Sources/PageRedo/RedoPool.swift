import Foundation
import PostgresFormat
import Synchronization

/// Worker processes that bring pages to a moment with PostgreSQL's own redo functions.
///
/// Purpose: takes batches from any thread, spreads them over at most `workers` processes, and gives
/// each request its outcome. Knows nothing of where base pages and records come from.
///
/// State and invariants:
/// 1. A request's page comes from a worker that ran all of its records without an error, or it is a
///    failure; workers that raised an error or were lost are never used again.
/// 2. No more than ``queueLimit`` slices wait, urgent ones aside; callers beyond that wait for room.
/// 3. After ``stop()`` no process and no file of the pool is left, and every request still waiting
///    has failed with `.stopped`.
///
/// Crash: workers end with our process (death signal, closed channel, their own alarm); the scratch
/// directory is removed by the next pool.
/// Concurrency: all methods from any thread; they block. Not for the cooperative pool.
/// Not guarded here: a pool that is dropped without ``stop()`` keeps its processes; that records are the right ones, in order, with verified CRCs.
package final class RedoPool: Sendable {
  private struct State {
    var queue: [RedoSlice] = []
    var runners = 0
    var idle = 0
    var isStopped = false
    var isRemoved = false
    /// Of the first runner.
    var isPrepared = false
    var startFailure: PageRedoError?
  }

  package let configuration: RedoPoolConfiguration
  let scratch: ScratchDirectory
  /// Whether workers get namespaces of their own; found out by the first runner, as that takes a process.
  private let isolates = Mutex<Bool?>(nil)
  private let state = Mutex(State())
  private let changed = NSCondition()

  /// Requests of one slice at most: small enough that workers share a batch.
  private static let sliceRequests = 128
  /// Of one that nobody waits for: what is urgent waits until a worker has done its slice.
  private static let patientSliceRequests = 32
  /// Slices that wait at most, for each worker.
  private static let queueLimit = 8

  /// Makes the scratch directory; processes start with the first request, or now if
  /// `startsEarly`.
  /// - Throws: ``PageRedoError`` `.notInstalled` or `.workerStart`.
  package init(_ configuration: RedoPoolConfiguration) throws(PageRedoError) {
    self.configuration = configuration
    guard access(configuration.server, X_OK) == 0 else {
      throw PageRedoError(
        .notInstalled, "find the server '\(configuration.server)': \(systemReason())",
        hint: "install the package postgresql-\(configuration.major.rawValue)")
    }
    guard getuid() != 0 || configuration.identity != nil else {
      throw PageRedoError(
        .workerStart, "start redo workers as root: PostgreSQL refuses it",
        hint: "name an unprivileged user for them")
    }
    scratch = try ScratchDirectory(configuration)
    do throws(PageRedoError) { _ = try scratch.readableLibrary() } catch {
      scratch.remove()
      throw error
    }
    if configuration.startsEarly { startRunner() }
  }

  /// Brings every request of the batch to an outcome. Blocks the calling thread meanwhile.
  ///
  /// Failures of single pages are outcomes, not errors.
  /// - Parameter isUrgent: goes before everything that waits; for pages that a reader waits for.
  /// - Throws: ``PageRedoError`` `.stopped` when the pool was stopped before.
  package func redo(_ batch: RedoBatch, isUrgent: Bool = false) throws(PageRedoError) {
    let ranges = slices(of: batch, isUrgent: isUrgent)
    guard !ranges.isEmpty else { return }
    let completion = RedoCompletion(slices: ranges.count)
    var refused = 0
    for range in ranges {
      let slice = RedoSlice(batch: batch, requests: range, completion: completion)
      if !enqueue(slice, isUrgent: isUrgent) {
        fail(slice)
        refused += 1
      }
    }
    completion.wait()
    if refused == ranges.count {
      throw PageRedoError(.stopped, "redo \(batch.count) pages: the pool was stopped")
    }
  }

  /// Brings pages to their moments and returns them in order.
  /// - Throws: the first request's failure.
  package func redo(_ requests: [PageRedoRequest]) throws(PageRedoError) -> [RedonePage] {
    let batch = RedoBatch()
    for request in requests { try batch.append(request) }
    try redo(batch)
    var pages: [RedonePage] = []
    for index in 0..<batch.count {
      let lsn: LSN
      switch batch.outcome(of: index) {
      case .page(let end): lsn = end
      case .zeroPage: lsn = .invalid
      case .failed(let error): throw error
      }
      pages.append(
        RedonePage(target: requests[index].target, bytes: Array(batch.page(of: index)), lsn: lsn))
    }
    return pages
  }

  /// Why the first worker of a pool that `startsEarly` could not be started; `nil` where it was, or is not known to have
  /// failed after `seconds`. Blocks until then at most.
  package func startFailure(within seconds: Double) -> PageRedoError? {
    let deadline = Date(timeIntervalSinceNow: seconds)
    changed.lock()
    defer { changed.unlock() }
    while !state.withLock({ $0.isPrepared }) {
      guard changed.wait(until: deadline) else { break }
    }
    return state.withLock { $0.startFailure }
  }

  /// Ends every worker and removes the scratch directory. Requests at work are finished first,
  /// those waiting fail. Blocks until all that is done; further calls do nothing.
  package func stop() {
    let waiting: [RedoSlice] = withSignal { state in
      defer { state.queue = [] }
      state.isStopped = true
      return state.queue
    }
    for slice in waiting { fail(slice) }
    wait { $0.runners == 0 }
    let isFirst: Bool = withSignal { state in
      defer { state.isRemoved = true }
      return !state.isRemoved
    }
    if isFirst { scratch.remove() }
  }

  /// Stops the pool on a thread of its own: a worker that is being started is waited for.
  package func discard() {
    Thread.detachNewThread { [self] in stop() }
  }

  private func fail(_ slice: RedoSlice) {
    for request in slice.requests {
      slice.fail(
        request,
        PageRedoError(
          .stopped, page: slice.batch.target(of: request), record: nil,
          reason: "the pool was stopped"))
    }
    slice.completion.finishSlice()
  }

  /// Cuts a batch so that all workers have a share and none holds too much.
  private func slices(of batch: RedoBatch, isUrgent: Bool) -> [Range<Int>] {
    let share = (batch.count + configuration.workers - 1) / configuration.workers
    // A handful is not worth two processes.
    let limit = isUrgent ? RedoPool.sliceRequests : RedoPool.patientSliceRequests
    let length = min(max(share, 16), limit)
    return stride(from: 0, to: batch.count, by: length).map {
      $0..<min($0 + length, batch.count)
    }
  }
}

/// The queue and its threads.
extension RedoPool {
  /// Waits for room and queues the slice; false when the pool is stopped.
  private func enqueue(_ slice: RedoSlice, isUrgent: Bool) -> Bool {
    let limit = RedoPool.queueLimit * configuration.workers
    changed.lock()
    defer { changed.unlock() }
    while true {
      let (isQueued, isStopped, needsRunner) = state.withLock { state in
        if state.isStopped { return (false, true, false) }
        guard isUrgent || state.queue.count < limit else { return (false, false, false) }
        state.queue.insert(slice, at: isUrgent ? 0 : state.queue.count)
        let needs = state.idle < state.queue.count && state.runners < configuration.workers
        return (true, false, needs)
      }
      if isStopped { return false }
      if isQueued {
        changed.broadcast()
        if needsRunner { startRunner() }
        return true
      }
      changed.wait()
    }
  }

  private func startRunner() {
    let number: Int? = state.withLock { state in
      guard !state.isStopped, state.runners < configuration.workers else { return nil }
      state.runners += 1
      return state.runners
    }
    guard let number else { return }
    Thread.detachNewThread { [self] in work(number) }
  }

  private func work(_ number: Int) {
    let isolates = isolates.withLock { known in
      let can = known ?? WorkerCommand.canIsolate()
      known = can
      return can
    }
    var runner = RedoRunner(
      configuration: configuration, scratch: scratch, number: number, isolates: isolates)
    let failure = runner.prepare()
    withSignal { state in
      if !state.isPrepared { (state.isPrepared, state.startFailure) = (true, failure) }
    }
    while let slice = nextSlice() {
      runner.perform(slice)
      slice.completion.finishSlice()
    }
    runner.stop()
    withSignal { $0.runners -= 1 }
  }

  private func nextSlice() -> RedoSlice? {
    changed.lock()
    defer { changed.unlock() }
    state.withLock { $0.idle += 1 }
    defer { state.withLock { $0.idle -= 1 } }
    while true {
      let (slice, isStopped) = state.withLock { state -> (RedoSlice?, Bool) in
        guard !state.queue.isEmpty else { return (nil, state.isStopped) }
        return (state.queue.removeFirst(), false)
      }
      if let slice {
        changed.broadcast()
        return slice
      }
      if isStopped { return nil }
      changed.wait()
    }
  }

  @discardableResult
  private func withSignal<Result>(_ change: (inout sending State) -> sending Result) -> Result {
    let result = state.withLock(change)
    changed.lock()
    changed.broadcast()
    changed.unlock()
    return result
  }

  private func wait(until done: (State) -> Bool) {
    changed.lock()
    defer { changed.unlock() }
    while !state.withLock({ done($0) }) { changed.wait() }
  }
}
