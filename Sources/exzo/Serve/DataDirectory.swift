import DurableIO
import Foundation

/// The directory of one installation, held by one `exzo serve` at a time.
///
/// The lock is `flock(2)` on `serve.lock`: the kernel frees it when the process ends, however it
/// ends. The
/// file carries the holder's process id for messages and for `exzo shutdown`.
final class DataDirectory: Sendable {
  let path: String
  private let lock: Int32

  /// Creates the directory where it is missing, and takes the lock.
  /// - Throws: a ``ServeError`` naming the holder where another serve runs on it.
  init(path: String) throws {
    self.path = path
    do {
      let isNew = access(path, F_OK) != 0
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o711])
      if isNew {
        try SystemFileSystem().syncDirectory(
          parentDirectory(of: path), operation: "make data directory")
      }
    } catch {
      let reason = (error as? FileError)?.description ?? error.localizedDescription
      throw ServeError(
        "create the data directory '\(path)': \(reason)",
        hint: "--data-dir names a directory, or a place where one can be made")
    }
    let file = "\(path)/serve.lock"
    lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard lock >= 0 else {
      throw ServeError(
        "open '\(file)': \(String(cString: strerror(errno)))",
        hint: "--data-dir names a directory that this user can write to")
    }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
      let holder = DataDirectory.holder(of: path).map { " (process \($0))" } ?? ""
      close(lock)
      throw ServeError(
        "take the data directory '\(path)': another exzo serve\(holder) runs on it",
        hint: "stop it with 'exzo shutdown --data-dir \(path)', or choose another --data-dir")
    }
    ftruncate(lock, 0)
    let text = "\(getpid())\n"
    _ = text.withCString { pwrite(lock, $0, strlen($0), 0) }
  }

  deinit { close(lock) }

  /// Process id of the serve that holds the directory, or `nil` where none does.
  static func holder(of path: String) -> pid_t? {
    let descriptor = open("\(path)/serve.lock", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    if flock(descriptor, LOCK_SH | LOCK_NB) == 0 { return nil }
    var buffer = [UInt8](repeating: 0, count: 32)
    let count = pread(descriptor, &buffer, buffer.count, 0)
    guard count > 0 else { return nil }
    return pid_t(String(decoding: buffer.prefix { (48...57).contains($0) }, as: UTF8.self))
  }
}

/// A reason why serve does not start, in words, with advice.
struct ServeError: Error, CustomStringConvertible {
  var message: String
  var hint: String

  init(_ message: String, hint: String = "") {
    self.message = message
    self.hint = hint
  }

  var description: String { hint.isEmpty ? message : "\(message)\nHINT: \(hint)" }
}
