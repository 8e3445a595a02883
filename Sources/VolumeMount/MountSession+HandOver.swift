import CFuse
import Glibc
import Volume

extension MountSession {
  /// Has the kernel hand over what it holds of the volume's files, but for those outside history.
  ///
  /// On return every write that had returned before the call is in the volume, not durable, as it would be without
  /// ``MountOptions/cachesWrites``; and no block of a file that was written to is a mixture that a checksum took for
  /// whole, since the kernel holds a file's lock from before its pages are handed over until the volume has answered.
  /// Costs a thread (``OwnMount``), a `stat` for each open file, and an `fsync` for each that was written to since its
  /// last one. Blocks; not to be called by a thread that answers requests.
  ///
  /// Which files those are: closing a file hands over its pages, so it is open; the kernel keeps the times of
  /// files, and tells them when it has handed over the pages, so it shows another time than the volume has.
  /// - Throws: ``MountError`` where a file cannot be synced, as when a process died halfway through a block.
  public func handOver() throws {
    guard cachesWrites else { return }
    try OwnMount.reach { [self] in try handOverOpenFiles() }
  }

  private func handOverOpenFiles() throws {
    let files = volume.openFiles()
    let last = openFiles.beginHandOver(of: Set(files.map(\.file)))
    for (file, modified) in files {
      guard let name = volume.path(of: file) else { continue }
      var shown = stat()
      guard lstat("\(path)/\(name)", &shown) == 0 else {
        if errno == ENOENT { continue }  // removed meanwhile
        throw MountError(.failed, "look at '\(name)' to hand over its writes: \(reason(errno))")
      }
      if shown.st_mtim.nanoseconds != modified
        || openFiles.mayHaveChanged(file, modified: modified, since: last)
      {
        try sync(name)
      }
    }
  }

  private func sync(_ name: String) throws {
    let file = open("\(path)/\(name)", O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
    guard file >= 0 else {
      if errno == ENOENT { return }  // removed meanwhile
      throw MountError(.failed, "open '\(name)' to hand over its writes: \(reason(errno))")
    }
    defer { close(file) }
    guard fsync(file) == 0 else {
      throw MountError(.failed, "hand over the writes to '\(name)': \(reason(errno))")
    }
  }
}
