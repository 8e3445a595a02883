import CFuse
import Glibc
import Synchronization
import Volume

/// What a session knows of the files that the kernel has open through it.
final class OpenFiles: Sendable {
  private struct State {
    var handles: Set<UInt64> = []
    /// Thread that last wrote part of a block through a handle.
    var pieceWriters: [UInt64: pid_t] = [:]
    /// Files of which writes came since their last `fsync`.
    var unsynced: Set<FileID> = []
    /// When files were last synced, nanoseconds since 1970.
    var synced: [FileID: Int64] = [:]
    /// When the last hand-over began, by the same clock.
    var handedOver = clockNow()
    /// Files of which a write failed that the kernel had taken.
    var lossy: Set<FileID> = []
  }
  private let state = Mutex(State())
  private let hasLost = Atomic<Bool>(false)

  func add(_ handle: OpenHandle) { state.withLock { _ = $0.handles.insert(handle.rawValue) } }

  func remove(_ handle: UInt64) {
    state.withLock { state in
      state.handles.remove(handle)
      state.pieceWriters[handle] = nil
    }
  }

  /// Takes out every handle that is left.
  func removeAll() -> Set<UInt64> {
    state.withLock { state in
      defer { state = State() }
      return state.handles
    }
  }

  func noteWrite(to file: FileID) { state.withLock { _ = $0.unsynced.insert(file) } }

  func noteSync(of file: FileID) {
    let now = clockNow()
    state.withLock { state in
      state.unsynced.remove(file)
      state.synced[file] = now
    }
  }

  /// A hand-over of these files begins: forgets when others were synced, which nobody has open.
  /// - Returns: when the last one began, nanoseconds since 1970.
  func beginHandOver(of files: Set<FileID>) -> Int64 {
    let now = clockNow()
    return state.withLock { state in
      state.unsynced.formIntersection(files)
      state.synced = state.synced.filter { files.contains($0.key) }
      defer { state.handedOver = now }
      return state.handedOver
    }
  }

  /// Whether a file may have been written to since its last `fsync` although its time of change is `modified`
  /// here and in the kernel, whose clock for that ticks every 1 to 10 ms.
  /// - Parameter last: when the last hand-over began. Nobody had an unknown file open then, or it had not changed.
  func mayHaveChanged(_ file: FileID, modified: Int64, since last: Int64) -> Bool {
    state.withLock { state in
      state.unsynced.contains(file) || modified > (state.synced[file] ?? last) - 20_000_000
    }
  }

  func noteLoss(of file: FileID) {
    state.withLock { _ = $0.lossy.insert(file) }
    hasLost.store(true, ordering: .releasing)
  }

  /// Whether the kernel's cache may have held the only copy of what a file has.
  func hasLosses(_ file: FileID) -> Bool {
    guard hasLost.load(ordering: .acquiring) else { return false }
    return state.withLock { $0.lossy.contains(file) }
  }

  func notePiece(_ handle: UInt64, by writer: pid_t) {
    state.withLock { $0.pieceWriters[handle] = writer }
  }

  /// Whether `writer` was the last to write part of a block through the handle; forgets it.
  func takePiece(_ handle: UInt64, by writer: pid_t) -> Bool {
    state.withLock { state in
      // 0 is every process outside our process namespace.
      guard writer != 0, state.pieceWriters[handle] == writer else { return false }
      state.pieceWriters[handle] = nil
      return true
    }
  }
}

/// Nanoseconds since 1970.
private func clockNow() -> Int64 {
  var now = timespec()
  clock_gettime(CLOCK_REALTIME, &now)
  return now.nanoseconds
}

extension MountSession {
  /// Invariant 1: the handle is the volume's.
  func openFile(_ file: FileID, _ opened: inout fuse_file_info) throws {
    let handle = try volume.open(file)
    openFiles.add(handle)
    opened.fh = handle.rawValue
    if options.cachesWrites, volume.fileClass(of: file)?.isObserved == true {
      // Whoever watches it is told when it is written, and it is written whole: past the kernel's cache.
      opened.direct_io = 1
    } else {
      opened.keep_cache = 1
    }
  }

  func closeFile(_ handle: UInt64) {
    openFiles.remove(handle)
    do {
      try volume.release(OpenHandle(rawValue: handle))
    } catch {
      // Nobody waits for this answer; the file itself is gone from the tree already.
      failures.report(error, path: path)
    }
  }

  func notePiece(_ handle: UInt64, by writer: pid_t) { openFiles.notePiece(handle, by: writer) }

  /// Answers `close(2)`. A killed process closes its files before anyone can see that it is gone,
  /// so pieces of blocks that it left are dropped, from the kernel's cache too, before the answer.
  func flush(_ handle: UInt64, _ request: Request) {
    guard openFiles.takePiece(handle, by: request.caller) else { return request.answer() }
    volume.dropPieces(of: OpenHandle(rawValue: handle))
    // What is dropped was queued by now (see `start`), so this comes after it.
    if !notifications.add({ request.answer() }) { request.answer() }
  }
}
