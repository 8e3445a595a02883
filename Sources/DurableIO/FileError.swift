import Glibc

/// A file-system call that failed: what was being done, on what, and the system's reason.
public struct FileError: Error, Sendable, Equatable, CustomStringConvertible {
  public var operation: String
  public var path: String
  /// `errno` of the failed call.
  public var code: Int32

  public init(operation: String, path: String, code: Int32) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  public var isDiskFull: Bool { code == ENOSPC || code == EDQUOT }
  public var isNotFound: Bool { code == ENOENT }

  public var description: String {
    "\(operation): \(path): \(String(cString: strerror(code)))"
  }
}
