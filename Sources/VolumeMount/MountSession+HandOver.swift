import CFuse
import Glibc
import Volume

extension MountSession {
  /// Has the kernel hand over what it holds of files that were made, or written to, since their last `fsync`.
  ///
  /// On return every write to them that had returned before the call is in the volume, and no block of theirs is a
  /// mixture of two writes that a checksum took for whole: the kernel holds a file's lock from before its pages are
  /// handed over until the volume has answered. Does nothing without ``MountOptions/cachesWrites``. Blocks; not to be
  /// called by a thread that answers requests.
  ///
  /// A file that was there before this mount, and that is written to now without the kernel having sent any of it, is
  /// not among them: the server's next checkpoint syncs it.
  /// - Throws: ``MountError`` where a file cannot be synced, as when a process died halfway through a block.
  public func handOver() throws {
    guard cachesWrites else { return }
    for file in openFiles.unsynced {
      guard let name = volume.path(of: file), volume.fileClass(of: file)?.isOutsideHistory == false
      else {
        openFiles.noteSync(of: file)
        continue
      }
      try sync(name)
    }
  }

  private func sync(_ name: String) throws {
    let file = open("\(path)/\(name)", O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard file >= 0 else {
      // Removed or renamed since: what has another name now is still noted.
      if errno == ENOENT { return }
      throw MountError(.failed, "open '\(name)' to have its writes handed over: \(reason(errno))")
    }
    defer { close(file) }
    guard fsync(file) == 0 else {
      throw MountError(.failed, "have the writes of '\(name)' handed over: \(reason(errno))")
    }
  }
}
