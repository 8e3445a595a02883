import CFuse
import Glibc

/// A mount that could not be made, cleared or taken down.
public struct MountError: Error, Sendable, CustomStringConvertible {
  /// Stable reasons that callers may act on.
  public enum Code: String, Sendable {
    /// `/dev/fuse` does not exist.
    case deviceMissing
    /// The system forbids mounting, or opening `/dev/fuse`.
    case notPermitted
    /// The mount point is missing, no directory, or not empty.
    case mountPointUnusable
    /// Something is mounted there already.
    case alreadyMounted
    /// Files of the mount are still open.
    case busy
    /// The kernel or libfuse refused for another reason.
    case failed
  }

  public var code: Code
  /// Verb and object, then the cause, lower case.
  public var message: String
  /// The way out, where there is one.
  public var hint: String?

  public init(_ code: Code, _ message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  public var description: String {
    guard let hint else { return message }
    return "\(message)\nHINT: \(hint)"
  }
}

/// The system's words for an error number.
func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
