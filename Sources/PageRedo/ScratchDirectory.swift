import DurableIO
import Glibc
import PostgresFormat

/// A pool's directory: `<scratch>/exzo-redo-XXXXXX`, gone with the pool.
///
/// State: 1. `owner` in it is locked (`flock(2)`) as long as the pool lives, so that whoever gets
/// the lock knows the directory is nobody's; 2. a directory for each worker, which belongs to the
/// workers' user and is closed to all others.
/// Crash: the next pool below the same scratch directory removes what dead ones left.
final class ScratchDirectory: Sendable {
  static let prefix = "exzo-redo-"
  private static let makeLimit = 3

  let path: String
  private let lock: Int32
  private let configuration: RedoPoolConfiguration

  init(_ configuration: RedoPoolConfiguration) throws(PageRedoError) {
    self.configuration = configuration
    ScratchDirectory.removeStale(below: configuration.scratch)
    // Another pool that starts now may take a directory not yet locked for a dead one's.
    for _ in 1..<ScratchDirectory.makeLimit {
      do throws(PageRedoError) {
        (path, lock) = try ScratchDirectory.make(below: configuration.scratch)
        return
      } catch { continue }
    }
    (path, lock) = try ScratchDirectory.make(below: configuration.scratch)
  }

  private static func make(below scratch: String) throws(PageRedoError) -> (String, Int32) {
    var template = Array("\(scratch)/\(prefix)XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
      throw PageRedoError(
        .workerStart, "make a directory below '\(scratch)': \(systemReason())",
        hint: "name a directory that this user may write, best on tmpfs")
    }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let lock = open("\(path)/owner", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0, chmod(path, 0o711) == 0 else {
      let reason = systemReason()
      if lock >= 0 { close(lock) }
      removeTree(path)
      throw PageRedoError(.workerStart, "lock '\(path)/owner': \(reason)")
    }
    return (path, lock)
  }

  /// Removes the directory. Workers must have ended.
  func remove() {
    removeTree(path)
    close(lock)
  }

  /// Makes an empty data directory for a worker and returns its path.
  func makeWorkerDirectory(_ number: Int) throws(PageRedoError) -> String {
    let directory = "\(path)/worker-\(number)"
    removeTree(directory)
    for name in ["", "/global", "/pg_dynshmem", "/pg_notify"] {
      guard mkdir(directory + name, 0o700) == 0 else {
        throw PageRedoError(.workerStart, "make '\(directory + name)': \(systemReason())")
      }
    }
    try write(Array("\(configuration.major.rawValue)\n".utf8), to: "\(directory)/PG_VERSION")
    try write([], to: "\(directory)/postgresql.conf")
    try write(
      WorkerControlFile.bytes(major: configuration.major), to: "\(directory)/global/pg_control")
    for name in ["", "/global", "/pg_dynshmem", "/pg_notify"] { try give(directory + name) }
    return directory
  }

  /// Writes a file that belongs to the workers' user.
  private func write(_ bytes: [UInt8], to path: String) throws(PageRedoError) {
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else {
      throw PageRedoError(.workerStart, "create '\(path)': \(systemReason())")
    }
    defer { close(file) }
    guard Glibc.write(file, bytes, bytes.count) == bytes.count else {
      throw PageRedoError(.workerStart, "write '\(path)': \(systemReason())")
    }
    try give(path)
  }

  func give(_ path: String) throws(PageRedoError) {
    guard getuid() == 0, let identity = configuration.identity else { return }
    guard lchown(path, identity.uid, identity.gid) == 0 else {
      throw PageRedoError(
        .workerStart, "give '\(path)' to user \(identity.uid): \(systemReason())")
    }
  }

  /// The extension where the workers' user can read it: in place, or copied here.
  func readableLibrary() throws(PageRedoError) -> String {
    let source = configuration.library
    guard let resolved = realpath(source, nil) else {
      throw PageRedoError(
        .notInstalled, "find '\(source)': \(systemReason())",
        hint: "run scripts/build_extension")
    }
    defer { free(resolved) }
    let path = String(cString: resolved)
    if getuid() != 0 || isOpenToAll(path) { return path }
    let copy = "\(self.path)/exzo_page_redo.so"
    if access(copy, R_OK) == 0 { return copy }
    guard let bytes = readWhole(path) else {
      throw PageRedoError(.notInstalled, "read '\(path)': \(systemReason())")
    }
    try write(bytes, to: copy)
    return copy
  }

  private static func removeStale(below scratch: String) {
    for name in names(in: scratch) where name.hasPrefix(prefix) {
      let directory = "\(scratch)/\(name)"
      let lock = open("\(directory)/owner", O_RDWR | O_CLOEXEC)
      // Not ours to open, or gone meanwhile: leave it.
      guard lock >= 0 else { continue }
      if flock(lock, LOCK_EX | LOCK_NB) == 0 { removeTree(directory) }
      close(lock)
    }
  }
}

/// Whether every user may read a file.
private func isOpenToAll(_ path: String) -> Bool {
  var status = stat()
  guard stat(path, &status) == 0, status.st_mode & 0o004 != 0 else { return false }
  var directory = path[...]
  while let slash = directory.lastIndex(of: "/") {
    directory = directory[..<slash]
    guard stat(directory.isEmpty ? "/" : String(directory), &status) == 0,
      status.st_mode & 0o001 != 0
    else { return false }
  }
  return true
}

private func readWhole(_ path: String) -> [UInt8]? {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return nil }
  defer { close(file) }
  var all: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = read(file, &buffer, buffer.count)
    if count == 0 { return all }
    guard count > 0 else { return nil }
    all += buffer[..<count]
  }
}

/// None where the directory cannot be read: what is in it is left, as all that cannot be removed.
private func names(in directory: String) -> [String] {
  (try? SystemFileSystem().list(directory, operation: "list scratch directory")) ?? []
}

/// Removes a directory of ours with all in it. What cannot be removed is left for the next pool:
/// nothing depends on its being gone.
func removeTree(_ path: String) {
  for name in names(in: path) {
    let child = "\(path)/\(name)"
    if unlink(child) != 0 { removeTree(child) }
  }
  rmdir(path)
}
