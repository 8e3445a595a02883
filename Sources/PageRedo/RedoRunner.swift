import PostgresFormat

/// Runs slices on one worker process, which it replaces when it ends.
///
/// A request that raised an error of redo's own, or over which the worker was lost, is tried once
/// more, as the first request of a fresh worker; then its failure is final. A worker killed from
/// outside says nothing of the page: it is replaced up to ``killLimit`` times. Requests that the
/// worker refused before it began are final at once.
/// Concurrency: one thread.
struct RedoRunner {
  let configuration: RedoPoolConfiguration
  let scratch: ScratchDirectory
  let number: Int
  let isolates: Bool
  private var worker: RedoWorker?

  private static let attemptLimit = 2
  private static let killLimit = 5
  private static let startLimit = 6

  init(
    configuration: RedoPoolConfiguration, scratch: ScratchDirectory, number: Int, isolates: Bool
  ) {
    self.configuration = configuration
    self.scratch = scratch
    self.number = number
    self.isolates = isolates
  }

  /// Starts the worker, if there is none.
  /// - Returns: why it could not be started; that is tried again, and reported, when a slice needs it.
  mutating func prepare() -> PageRedoError? {
    do throws(PageRedoError) { _ = try readyWorker() } catch { return error }
    return nil
  }

  mutating func stop() { worker = nil }

  /// Brings every request of the slice to an outcome.
  mutating func perform(_ slice: RedoSlice) {
    var progress = RedoProgress(request: slice.requests.lowerBound)
    while progress.request < slice.requests.upperBound {
      do throws(PageRedoError) {
        try exchange(slice, &progress)
      } catch {
        for request in progress.request..<slice.requests.upperBound { slice.fail(request, error) }
        return
      }
    }
  }

  private mutating func readyWorker() throws(PageRedoError) -> RedoWorker {
    if let worker { return worker }
    // A start fails for a moment's lack of memory or processes as well.
    for _ in 1..<RedoRunner.startLimit {
      do throws(PageRedoError) {
        let started = try start()
        worker = started
        return started
      } catch { continue }
    }
    let started = try start()
    worker = started
    return started
  }

  private func start() throws(PageRedoError) -> RedoWorker {
    try RedoWorker(configuration, scratch: scratch, number: number, isolates: isolates)
  }

  private mutating func exchange(
    _ slice: RedoSlice, _ progress: inout RedoProgress
  ) throws(PageRedoError) {
    let worker = try readyWorker()
    let isFresh = worker.batches == 0
    let load = slice.load(
      from: progress, into: worker.exchange, bytes: worker.exchangeBytes)
    guard !load.offsets.isEmpty else {
      let failure = PageRedoError(
        .recordLength, page: slice.batch.target(of: progress.request), record: nil,
        reason: "a record does not fit into \(worker.exchangeBytes) bytes")
      return settle(slice, &progress, failure, limit: 1)
    }
    let answer = worker.run()
    let completed = min(worker.completed, load.offsets.count)
    for index in 0..<completed {
      let place = worker.exchange + load.offsets[index]
      let failure = slice.take(&progress, from: place, part: load.part)
      if let failure, failure.code == .redo {
        self.worker = nil
        let limit = isFresh && index == 0 ? 1 : RedoRunner.attemptLimit
        settle(slice, &progress, failure, limit: limit)
        return
      }
      if let failure { slice.fail(progress.request, failure) }
      if failure != nil || load.part == nil { progress.advance() }
    }
    if case .done = answer { return }
    self.worker = nil
    if case .lost(let reason, let wasKilled) = answer, completed < load.offsets.count {
      let failure = PageRedoError(
        .workerLost, page: slice.batch.target(of: progress.request),
        record: slice.recordAtWork(in: worker.exchange + load.offsets[completed]), reason: reason)
      settle(
        slice, &progress, failure,
        limit: wasKilled ? RedoRunner.killLimit : RedoRunner.attemptLimit)
    }
  }

  /// Gives the request another try or, after `limit` of them, makes its failure final.
  private func settle(
    _ slice: RedoSlice, _ progress: inout RedoProgress, _ failure: PageRedoError, limit: Int
  ) {
    progress.attempts += 1
    guard progress.attempts >= limit else { return }
    slice.fail(progress.request, failure)
    progress.advance()
  }
}
