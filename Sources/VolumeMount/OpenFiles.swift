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
    /// Files that were made, or written to, since their last `fsync`.
    var unsynced: Set<FileID> = []
  }
  private let state = Mutex(State())

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

  func noteChange(of file: FileID) { state.withLock { _ = $0.unsynced.insert(file) } }
  func noteSync(of file: FileID) { state.withLock { _ = $0.unsynced.remove(file) } }
  var unsynced: [FileID] { state.withLock { Array($0.unsynced) } }

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
