import DurableIO
import Synchronization

/// A copy-on-write POSIX tree: a page log, an index of it, local sparse files, and a base view
/// below.
///
/// *Purpose.* What Postgres's data directory lives on. Every write enters the log whole or not at
/// all; every seal
/// makes an epoch that history turns into a layer.
/// *State and invariants.* (1) What a read returns comes from the newest of: staged pieces and blocks held back,
/// current epoch, sealed epochs
/// newest first, local file, base view, zeros; a floor cuts the search. (2) Memory changes only
/// after the log took
/// the record, and in the log's order. (3) Bytes of a file's last block past its size are zeros in
/// every store. (4) A
/// state file never names an epoch whose blocks are not synced in their local files. (5) No log
/// segment goes
/// while an epoch that is not both destaged and forgotten, or not yet in the state file, begins in
/// or before it.
/// *On disk.* `state`, `log/`, `files/` (docs/formats/volume-state.md, page-log.md), `scratch/`.
/// *Crash.* ``open(_:base:files:)`` finds everything that ``sync()`` covered, and perhaps a longer
/// prefix; of provisional blocks those whose file was synced, or the epoch sealed, after them.
/// *Concurrency.* Every call from any thread; all block. Changes follow one another under the
/// writer lock, which is held
/// across the append; lookups and attributes take only the state lock, which nobody holds across
/// I/O.
/// *Not guarded here.* Two volumes open on one directory; permissions.
public final class Volume: Sendable {
  public let configuration: VolumeConfiguration
  public let base: any BaseView
  let files: any FileSystem
  let seed: UInt32
  let log: PageLog
  let backing: BackingFiles
  let scratch: BackingFiles
  let observers = VolumeObservers()
  let counters = VolumeCounters()
  let isDeferred: Atomic<Bool>
  let destaging: Destaging

  /// See ``holdBack(until:)``; set before the first write.
  nonisolated(unsafe) var isWholeBlock: WholeBlockCheck?

  private let writerLock = ShortLock()
  private let stateLock = ShortLock()
  /// Only inside ``withState(_:)``.
  private nonisolated(unsafe) let state: VolumeState

  init(
    configuration: VolumeConfiguration, base: any BaseView, files: any FileSystem, seed: UInt32,
    log: PageLog, state: VolumeState, retainedFrom: LogPosition
  ) {
    self.configuration = configuration
    self.base = base
    self.files = files
    self.seed = seed
    self.log = log
    nonisolated(unsafe) let state = state
    self.state = state
    backing = BackingFiles(directory: "\(configuration.directory)/files", files: files)
    scratch = BackingFiles(directory: "\(configuration.directory)/scratch", files: files)
    isDeferred = Atomic(configuration.syncMode == .deferred)
    destaging = Destaging(oldestSegment: max(1, retainedFrom.segment))
  }

  /// The thread must not outlive the volume; waiting for it here could be waiting for itself.
  deinit { destaging.stop() }

  /// Runs `body` with the tree and indexes; no I/O inside.
  @inline(__always)
  func withState<Result>(_ body: (VolumeState) throws -> Result) rethrows -> Result {
    try stateLock.withLock { try body(state) }
  }

  /// Runs `body` while no other thread changes the volume.
  func withWriter<Result>(_ body: () throws -> Result) rethrows -> Result {
    try writerLock.withLock(body)
  }

  /// Logs a record and does what it says. Only inside ``withWriter(_:)``.
  func commit(
    _ record: LogRecord, payload: UnsafeRawBufferPointer = .init(start: nil, count: 0)
  ) throws {
    var record = record
    record.payloadSize = payload.count
    let (segment, offset) = try log.append(record, payload: payload)
    try withState { state in
      try state.apply(record, payload: payload, segment: segment, offset: offset)
    }
  }

  func commit(_ record: LogRecord, names first: String, _ second: String = "") throws {
    try VolumeState.encodeNames(first, second).withUnsafeBytes { try commit(record, payload: $0) }
  }

  // MARK: Durability

  /// Makes every change that returned before the call durable: one `fdatasync` for all who wait.
  ///
  /// In deferred mode it returns at once; see ``makeDurable()``.
  /// - Throws: ``VolumeError`` `.poisoned`, and then for ever, once a sync failed.
  public func sync() throws {
    if isDeferred.load(ordering: .acquiring) { return }
    try VolumeError.wrapping { try log.sync() }
  }

  /// Ends deferred mode: makes everything durable, and every later ``sync()`` real.
  public func makeDurable() throws {
    isDeferred.store(false, ordering: .releasing)
    try sync()
  }

  // MARK: Epochs

  /// Ends the current epoch and returns it.
  ///
  /// On return everything written before is durable, and the epoch stays readable until
  /// ``forget(epoch:)``. Pieces of blocks
  /// whose rest has not come are not in it; they stay staged, since their writer may be alive.
  /// Writers wait while
  /// the tree is copied (about 0.1 µs a file), readers too.
  @discardableResult
  public func seal() throws -> any SealedEpoch {
    try VolumeError.wrapping {
      try log.sync()
      let epoch = try withWriter {
        var record = LogRecord(.seal)
        (record.argument, record.second) = withState {
          ($0.current.number, $0.nextFileID.rawValue)
        }
        try commit(record)
        return withState { $0.freeze(end: log.end, sequence: log.nextSequence) }
      }
      try log.sync()
      // Nobody else looks at the tree before the epoch counts as durable.
      epoch.tree.entries.sort { $0.id < $1.id }
      withState { _ in epoch.isDurable = true }
      counters.bytesAtSeal.store(log.bytesAppended.load(ordering: .relaxed), ordering: .relaxed)
      destaging.wake()
      return SealedEpochView(epoch: epoch)
    }
  }

  /// Says that an epoch is durable elsewhere, or that nobody wants it: its log space may go.
  ///
  /// Not itself durable: after a crash the epoch may be among ``sealedEpochs`` again.
  public func forget(epoch number: UInt64) throws {
    try VolumeError.wrapping {
      try withWriter {
        guard withState({ $0.retained.contains { $0.number == number && !$0.isForgotten } }) else {
          return
        }
        var record = LogRecord(.forget)
        record.argument = number
        try commit(record)
      }
    }
    destaging.wake()
  }

  /// Epochs that were sealed and not forgotten, oldest first; after a reopen too.
  public var sealedEpochs: [any SealedEpoch] {
    withState { $0.retained.filter { !$0.isForgotten && $0.isDurable } }
      .map { SealedEpochView(epoch: $0) }
  }

  /// The number that the next seal will give.
  public var currentEpoch: UInt64 { withState { $0.current.number } }

  // MARK: Observers

  /// Sets who is told of writes to files whose class is observed.
  ///
  /// Called on the writing thread after the write is in the log and outside every lock, before the
  /// write
  /// is answered.
  public func observeWrites(_ observer: (@Sendable (FileID, Range<UInt64>) -> Void)?) {
    observers.set { $0.write = observer }
  }

  /// Sets who is told that pieces of a block's write were dropped, so that cached copies must go.
  ///
  /// Called outside every lock on the thread that found out.
  public func observeDroppedPieces(_ observer: (@Sendable (FileID, Range<UInt64>) -> Void)?) {
    observers.set { $0.dropped = observer }
  }

  /// Sets who is told, on the volume's own thread, that the log since the last seal exceeds the
  /// budget. Once a crossing.
  public func observePressure(_ observer: (@Sendable () -> Void)?) {
    observers.set { $0.pressure = observer }
  }

  /// Sets who is told, on the volume's own thread, that destaging failed; it is tried again later.
  public func observeDestageFailures(_ observer: (@Sendable (any Error) -> Void)?) {
    observers.set { $0.failure = observer }
  }
}

extension VolumeState {
  /// Turns the current epoch into a sealed one.
  func freeze(end: LogPosition, sequence: UInt64) -> Epoch {
    let epoch = current
    epoch.tree = snapshot()
    epoch.end = end
    epoch.endSequence = sequence
    sealed.append(epoch)
    retained.append(epoch)
    current = Epoch(number: epoch.number + 1, firstSegment: end.segment)
    return epoch
  }
}

/// Who is told what; see ``Volume/observeWrites(_:)`` and the others.
final class VolumeObservers: Sendable {
  struct Observers: Sendable {
    var write: (@Sendable (FileID, Range<UInt64>) -> Void)?
    var dropped: (@Sendable (FileID, Range<UInt64>) -> Void)?
    var pressure: (@Sendable () -> Void)?
    var failure: (@Sendable (any Error) -> Void)?
  }
  private let observers = Mutex(Observers())
  var current: Observers { observers.withLock { $0 } }
  func set(_ change: (inout Observers) -> Void) {
    observers.withLock { change(&$0) }
  }
}
