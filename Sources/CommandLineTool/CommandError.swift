/// Why a command failed, with advice.
public struct CommandError: Error, Sendable, Equatable, CustomStringConvertible {
  public var message: String
  public var hint: String?

  public init(_ message: String, hint: String? = nil) {
    self.message = message
    self.hint = hint
  }

  public var description: String { hint.map { "\(message)\nHINT: \($0)" } ?? message }
}

/// The exit statuses that scripts can rely on.
public enum ExitStatus {
  public static let success: Int32 = 0
  public static let failure: Int32 = 1
  public static let usage: Int32 = 2
}
