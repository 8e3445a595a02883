import PostgresFormat

/// Runs slices on one worker process, which it replaces when it ends.
///
/// A request that raised an error of redo's own, or over which the worker was lost, is tried once
/// more, as the first request of a fresh worker; then its failure is final. Requests that the
/// worker refused before it began are final at once.
/// Concurrency: one thread.
struct RedoRunner {
  let configuration: RedoPoolConfiguration
  let scratch: ScratchDirectory
  let number: Int
  let isolates: Bool
  private var worker: RedoWorker?

  init(
    configuration: RedoPoolConfiguration, scratch: ScratchDirectory, number: Int, isolates: Bool
  ) {
    self.configuration = configuration
    self.scratch = scratch
    self.number = number
    self.isolates = isolates
  }

  /// Starts the worker, if there is none. A failure shows when a slice needs it.
  mutating func prepare() {
    _ = try? readyWorker()  // tried again, and reported, with the first slice
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
    // One second attempt: a start fails for a moment's lack of memory or processes as well.
    let started: RedoWorker
    do throws(PageRedoError) { started = try start() } catch { started = try start() }
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
    let answer = worker.run()
    let completed = min(worker.completed, load.offsets.count)
    for index in 0..<completed {
      let place = worker.exchange + load.offsets[index]
      let failure = slice.take(&progress, from: place, part: load.part)
      if let failure {
        if failure.code == .redo {
          self.worker = nil
          settle(slice, &progress, failure, isFinal: isFresh && index == 0)
          return
        }
        slice.fail(progress.request, failure)
      }
      if failure != nil || load.part == nil { progress.advance() }
    }
    switch answer {
    case .done: return
    case .ended: self.worker = nil
    case .lost(let reason):
      self.worker = nil
      guard completed < load.offsets.count else { return }
      let place = worker.exchange + load.offsets[completed]
      let failure = PageRedoError(
        .workerLost, page: slice.batch.target(of: progress.request),
        record: slice.recordAtWork(in: place), reason: reason)
      settle(slice, &progress, failure, isFinal: isFresh && completed == 0)
    }
  }

  /// Gives the request another try or makes its failure final.
  private func settle(
    _ slice: RedoSlice, _ progress: inout RedoProgress, _ failure: PageRedoError, isFinal: Bool
  ) {
    progress.attempts += 1
    guard isFinal && failure.code == .redo || progress.attempts > 1 else { return }
    slice.fail(progress.request, failure)
    progress.advance()
  }
}
