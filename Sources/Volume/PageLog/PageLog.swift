import DurableIO
import Synchronization

/// A place in the log: where a record or a block's bytes begin.
struct LogPosition: Equatable {
  var segment: UInt32
  var offset: UInt64
}

/// The append-only, totally ordered log of everything that happens to a volume.
///
/// *Purpose.* Turns many small writes into one sequential stream, and many syncs into one.
/// *State and invariants.* (1) Sequences are consecutive from 1, across segments; a segment's
/// header names its first. (2)
/// A record is appended whole or not at all: on throw the tail has not moved. (3) `durable` never
/// exceeds what a
/// successful `fdatasync` covered. (4) After one failed sync every later one throws.
/// *On disk.* docs/formats/page-log.md.
/// *Crash.* Any prefix that contains all durable records may be found again; see ``LogReplay``. Retired segments
/// keep their names until they become others; the next open removes them.
/// *Concurrency.* ``append(_:payload:)`` and ``roll()`` by one thread at a time (the volume's
/// writer lock);
/// ``sync()`` by any number.
/// *Not guarded here.* Two processes on one directory.
final class PageLog: Sendable {
  let directory: String
  private let files: any FileSystem
  private static let firstCapacity: UInt64 = 4 << 20
  private let segmentSize: UInt64
  private let lastSegmentAtOpen: UInt32
  private let seed: UInt32

  /// What the appending thread owns.
  private nonisolated(unsafe) var tail: Tail
  private let gate = SyncGate()
  /// What syncing threads share, under `gate`.
  private nonisolated(unsafe) var progress: Progress
  let durableSequence: Atomic<UInt64>
  let syncCount = Atomic<UInt64>(0)
  let bytesAppended = Atomic<UInt64>(0)
  let segmentsReused = Atomic<UInt64>(0)

  private struct Tail {
    var segment: LogSegment?
    var number: UInt32
    var offset: UInt64 = 0
    var nextSequence: UInt64
  }

  private struct Progress {
    var appended: UInt64
    /// Number of the segment being written.
    var current: UInt32
    /// Segments with records that no sync has covered, in order.
    var dirty: [LogSegment] = []
    var isSyncing = false
    var failure: FileError?
    /// A segment made ahead of need.
    var spare: LogSegment?
    /// A thread is making a segment; two must never make the same one.
    var isPreparing = false
    var retired = RetiredSegments()
  }

  /// A log whose next record is `nextSequence`, in a fresh segment after `lastSegment`.
  init(
    directory: String, files: any FileSystem, segmentSize: UInt64, seed: UInt32,
    lastSegment: UInt32, nextSequence: UInt64
  ) {
    self.directory = directory
    self.files = files
    self.segmentSize = segmentSize
    self.seed = seed
    lastSegmentAtOpen = lastSegment
    tail = Tail(number: lastSegment, nextSequence: nextSequence)
    progress = Progress(appended: nextSequence - 1, current: lastSegment)
    durableSequence = Atomic(nextSequence - 1)
  }

  /// Where the next record goes if it fits into the open segment.
  var end: LogPosition { LogPosition(segment: tail.number, offset: tail.offset) }
  var nextSequence: UInt64 { tail.nextSequence }

  /// Number of the newest segment.
  var lastSegment: UInt32 { gate.withLock { progress.current } }

  /// Appends a record and returns its segment and the offset of its payload.
  ///
  /// Readable on return, durable after ``sync()``. On throw nothing was appended.
  func append(
    _ record: LogRecord, payload: UnsafeRawBufferPointer
  ) throws -> (segment: LogSegment, payloadOffset: UInt64) {
    let span = UInt64(LogRecord.span(payload: payload.count))
    if tail.segment == nil || tail.offset + span > capacity(tail.number) {
      try roll()
    }
    guard let segment = tail.segment else { preconditionFailure("roll left no segment") }
    var record = record
    record.sequence = tail.nextSequence
    record.durableSequence = durableSequence.load(ordering: .relaxed)
    try withUnsafeTemporaryAllocation(byteCount: LogRecord.headerSize, alignment: 16) { header in
      record.encode(into: header, payload: payload, seed: seed)
      try segment.file.write(
        UnsafeRawBufferPointer(header), payload, at: tail.offset, operation: "append to page log")
    }
    let payloadOffset = tail.offset + UInt64(LogRecord.headerSize)
    tail.offset += span
    tail.nextSequence += 1
    bytesAppended.add(span, ordering: .relaxed)
    gate.withLock { progress.appended = record.sequence }
    return (segment, payloadOffset)
  }

  /// Opens the next segment, so that the next record begins it.
  func roll() throws {
    let number = tail.number + 1
    let segment = try takeSegment(number)
    let header = LogSegmentHeader(
      number: number, firstSequence: tail.nextSequence,
      durableSequence: durableSequence.load(ordering: .relaxed))
    try withUnsafeTemporaryAllocation(byteCount: LogSegment.headerSize, alignment: 16) { buffer in
      header.encode(into: buffer, seed: seed)
      try segment.file.write(
        UnsafeRawBufferPointer(buffer), at: 0, operation: "begin log segment")
    }
    tail.segment = segment
    tail.number = number
    tail.offset = UInt64(LogSegment.headerSize)
    gate.withLock {
      progress.dirty.append(segment)
      progress.current = number
      progress.spare = nil
      progress.retired.noteBegun(segment)
    }
  }

  /// Makes the next segment ahead of need; by a background thread.
  func prepareNextSegment() throws {
    let next: UInt32? = gate.withLock {
      guard progress.spare == nil, !progress.isPreparing else { return nil }
      progress.isPreparing = true
      return progress.current + 1
    }
    if let next { try finishPreparing { try makeSegment(next) } }
  }

  /// Makes everything appended before the call durable. One `fdatasync` serves all who wait.
  /// - Throws: ``VolumeError`` `.poisoned`, from the first failure on for ever.
  func sync() throws {
    let target = gate.withLock { progress.appended }
    while let (segments, appended) = try waitForTurn(target) {
      let failure = syncAll(segments)
      gate.withLock {
        progress.isSyncing = false
        if let failure {
          progress.failure = failure
        } else {
          // The last one goes on being written to.
          progress.dirty.removeFirst(segments.count - 1)
          durableSequence.store(appended, ordering: .releasing)
        }
        gate.wakeAll()
      }
      syncCount.add(1, ordering: .relaxed)
    }
  }

  /// Waits until `target` is durable (`nil`) or this thread is to sync.
  private func waitForTurn(_ target: UInt64) throws -> (segments: [LogSegment], appended: UInt64)? {
    try gate.withLock {
      while true {
        if let failure = progress.failure {
          throw VolumeError(.poisoned, "sync page log, which failed before", cause: failure)
        }
        if durableSequence.load(ordering: .acquiring) >= target { return nil }
        if !progress.isSyncing {
          progress.isSyncing = true
          return (progress.dirty, progress.appended)
        }
        gate.wait()
      }
    }
  }

  private func syncAll(_ segments: [LogSegment]) -> FileError? {
    do {
      for segment in segments { try segment.file.sync(operation: "sync page log") }
      return nil
    } catch let error as FileError {
      return error
    } catch {
      return FileError(operation: "sync page log: \(error)", path: directory, code: 5)
    }
  }

  /// The segment `number`, made ahead or now. It stays the spare one until the log has moved to it.
  private func takeSegment(_ number: UInt32) throws -> LogSegment {
    let spare: LogSegment? = gate.withLock {
      while progress.isPreparing { gate.wait() }
      if progress.spare == nil { progress.isPreparing = true }
      return progress.spare
    }
    return try spare ?? finishPreparing { try makeSegment(number) }
  }

  /// Keeps the segment that `make` returns as the spare one.
  @discardableResult
  private func finishPreparing(_ make: () throws -> LogSegment) throws -> LogSegment {
    let result = Result { try make() }
    gate.withLock {
      progress.isPreparing = false
      if case .success(let segment) = result { progress.spare = segment }
      gate.wakeAll()
    }
    return try result.get()
  }

  /// Bytes of a segment: 4 MiB for the first after an open, then twice as many each time up to the
  /// configured size, so that
  /// a volume that is hardly written to takes little disk.
  private func capacity(_ number: UInt32) -> UInt64 {
    let doublings = UInt64(min(number - lastSegmentAtOpen - 1, 8))
    return min(segmentSize, Self.firstCapacity << doublings)
  }

  private func makeSegment(_ number: UInt32) throws -> LogSegment {
    if let reused = try reuseSegment(as: number) { return reused }
    let path = LogSegment.path(directory, number)
    let file = try files.open(path, .createReadWrite, operation: "create log segment")
    // A leftover of an earlier process could hold records that look like the next ones.
    try file.truncate(to: 0, operation: "create log segment")
    try file.allocate(0..<capacity(number), operation: "reserve log segment")
    try file.sync(operation: "create log segment")
    try files.syncDirectory(directory, operation: "create log segment")
    return LogSegment(number: number, file: file)
  }

  // MARK: Reuse

  /// Frees a segment that nothing needs any more: it becomes a later one, or is removed.
  ///
  /// Writing over a file that the page cache holds costs a copy; a new one costs its pages and blocks too. Its old
  /// records are valid, but below every sequence that is still to come, as this process wrote them; so none is taken for
  /// the log's next, and none says that a later one was durable.
  func retire(_ number: UInt32) throws {
    let isWhole = number > lastSegmentAtOpen && capacity(number) == segmentSize
    let free = isWhole ? try files.freeBytes(directory, operation: "free log segment") : 0
    let mayKeep = free > RetiredSegments.reserve * segmentSize
    if gate.withLock({ progress.retired.keep(number, mayKeep: mayKeep) }) { return }
    try removeIfPresent(LogSegment.path(directory, number))
  }

  /// Removes kept segments beyond what the log needed since the last call, or all of them.
  func trimRetired(toNone: Bool = false) throws {
    for segment in gate.withLock({ progress.retired.takeSurplus(all: toNone) }) {
      try removeIfPresent(segment.file.path)
    }
  }

  /// A retired segment under a new number; `nil` where there is none, or memory does not hold it: then each
  /// append would read what it writes over in part.
  private func reuseSegment(as number: UInt32) throws -> LogSegment? {
    guard capacity(number) == segmentSize,
      let old = gate.withLock({ progress.retired.takeNewest() })
    else { return nil }
    guard try old.file.isCached(operation: "reuse log segment") else {
      try removeIfPresent(old.file.path)
      return nil
    }
    let path = LogSegment.path(directory, number)
    try files.rename(old.file.path, to: path, operation: "reuse log segment")
    let file = try files.open(path, .readWrite, operation: "reuse log segment")
    try files.syncDirectory(directory, operation: "reuse log segment")
    segmentsReused.add(1, ordering: .relaxed)
    return LogSegment(number: number, file: file)
  }

  private func removeIfPresent(_ path: String) throws {
    do {
      try files.unlink(path, operation: "free log segment")
    } catch let error as FileError where error.isNotFound {
      return
    }
  }
}
