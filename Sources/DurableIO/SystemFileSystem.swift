import Glibc

/// The machine's file system: thin, typed calls that retry what only a signal interrupted.
///
/// *Purpose.* The one place where durable code meets `errno`.
/// *Crash.* A write is durable after ``OpenFile/sync(operation:)`` on the same open file returned,
/// a name after
/// ``FileSystem/syncDirectory(_:operation:)`` on its directory.
/// *Concurrency.* Stateless; every call blocks its thread.
/// *Not guarded here.* Two writers of one range; symbolic links in paths are followed.
public struct SystemFileSystem: FileSystem {
  public init() {}

  public func open(
    _ path: String, _ mode: OpenMode, operation: StaticString
  ) throws -> any OpenFile {
    let flags: Int32 =
      switch mode {
      case .read: O_RDONLY
      case .readWrite: O_RDWR
      case .createReadWrite: O_RDWR | O_CREAT
      case .createNew: O_RDWR | O_CREAT | O_EXCL
      }
    let descriptor = try check(operation, path) { Glibc.open(path, flags | O_CLOEXEC, 0o600) }
    return SystemFile(path: path, descriptor: descriptor)
  }

  public func rename(_ from: String, to: String, operation: StaticString) throws {
    try check(operation, from) { Glibc.rename(from, to) }
  }

  public func link(_ from: String, to: String, operation: StaticString) throws {
    try check(operation, to) { Glibc.link(from, to) }
  }

  public func unlink(_ path: String, operation: StaticString) throws {
    try check(operation, path) { Glibc.unlink(path) }
  }

  public func makeDirectory(_ path: String, operation: StaticString) throws {
    if Glibc.mkdir(path, 0o700) == 0 { return }
    let code = errno
    if code == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex {
      try makeDirectory(String(path[..<slash]), operation: operation)
      if Glibc.mkdir(path, 0o700) == 0 { return }
    }
    if let found = try status(path, operation: operation), found.isDirectory { return }
    throw FileError(operation: "\(operation)", path: path, code: code)
  }

  public func removeDirectory(_ path: String, operation: StaticString) throws {
    try check(operation, path) { Glibc.rmdir(path) }
  }

  public func list(_ path: String, operation: StaticString) throws -> [String] {
    guard let directory = opendir(path) else {
      throw FileError(operation: "\(operation)", path: path, code: errno)
    }
    defer { closedir(directory) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(directory) else {
        guard errno == 0 else {
          throw FileError(operation: "\(operation)", path: path, code: errno)
        }
        return names.sorted()
      }
      let name = entry.entryName
      if name != ".", name != ".." { names.append(name) }
    }
  }

  public func status(_ path: String, operation: StaticString) throws -> FileStatus? {
    var found = stat()
    while stat(path, &found) != 0 {
      if errno == EINTR { continue }
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw FileError(operation: "\(operation)", path: path, code: errno)
    }
    return FileStatus(
      size: UInt64(clamping: found.st_size), isDirectory: found.st_mode & S_IFMT == S_IFDIR,
      allocatedBytes: UInt64(clamping: found.st_blocks) * 512)
  }

  public func syncDirectory(_ path: String, operation: StaticString) throws {
    let descriptor = try check(operation, path) {
      Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    }
    defer { Glibc.close(descriptor) }
    // Not repeated on EINTR: whether the first call lost an error cannot be known.
    guard fsync(descriptor) == 0 else {
      throw FileError(operation: "\(operation)", path: path, code: errno)
    }
  }

  public func freeBytes(_ path: String, operation: StaticString) throws -> UInt64 {
    var found = statvfs()
    try check(operation, path) { statvfs(path, &found) }
    return UInt64(found.f_bavail) * UInt64(found.f_frsize)
  }
}

/// Repeats `call` while a signal interrupts it.
/// - Throws: ``FileError`` when it returns a negative value.
@discardableResult
private func check<Value: SignedInteger>(
  _ operation: StaticString, _ path: String, _ call: () -> Value
) throws(FileError) -> Value {
  while true {
    let result = call()
    if result >= 0 { return result }
    if errno != EINTR { throw FileError(operation: "\(operation)", path: path, code: errno) }
  }
}
