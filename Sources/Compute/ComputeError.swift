/// A failure to prepare, open, run or stop a compute.
public struct ComputeError: Error, Sendable, CustomStringConvertible {
  public enum Code: String, Sendable, Codable {
    /// No server binaries of the wanted major version on this machine.
    case serverMissing = "postgres_not_installed"
    /// A process could not be started or ended in an unexpected way.
    case process = "process_failed"
    /// The server did not come up, or came up somewhere else than at the wanted moment.
    case recovery = "recovery_failed"
    /// The image and the WAL of a moment do not fit together, or an object is damaged.
    case damagedHistory = "history_damaged"
    /// The agent did not answer or answered with an error.
    case agent = "agent_failed"
    /// Something needed on this machine is missing or forbidden.
    case environment = "environment_unsuitable"
    /// The moment asked for cannot be opened.
    case outOfWindow = "restore_point_out_of_window"
  }

  public var code: Code
  /// What was being done, on what, and why it failed.
  public var message: String
  /// What to do next, or empty.
  public var hint: String

  public init(_ code: Code, _ message: String, hint: String = "") {
    self.code = code
    self.message = message
    self.hint = hint
  }

  public var description: String { hint.isEmpty ? message : "\(message)\nHINT: \(hint)" }
}
