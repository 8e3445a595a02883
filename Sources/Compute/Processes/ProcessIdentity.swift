import Glibc

/// The user that a project's servers run as.
///
/// Started as root, every project has a numeric user of its own; started by anyone else, all run as
/// that user.
public struct ProcessIdentity: Codable, Sendable, Equatable {
  public var uid: UInt32
  public var gid: UInt32

  public init(uid: UInt32, gid: UInt32) {
    self.uid = uid
    self.gid = gid
  }

  public static var current: ProcessIdentity { ProcessIdentity(uid: getuid(), gid: getgid()) }

  /// Whether a program must be started under another user than ours.
  public var needsChange: Bool { uid != getuid() }

  /// The command run as this user, without privileges, and killed when our thread ends.
  ///
  /// `setpriv(1)` of util-linux does it: the death signal is set after the change of user, which
  /// would
  /// clear it, and survives the execution of the program.
  public func applied(to command: ProcessCommand, endsWithUs: Bool) -> ProcessCommand {
    var options: [String] = []
    if endsWithUs { options += ["--pdeathsig", "KILL"] }
    if needsChange {
      options += ["--reuid", "\(uid)", "--regid", "\(gid)", "--clear-groups"]
      options += ["--no-new-privs", "--inh-caps=-all"]
    }
    guard !options.isEmpty else { return command }
    var wrapped = command
    wrapped.path = "/usr/bin/setpriv"
    wrapped.arguments = options + [command.path] + command.arguments
    return wrapped
  }
}
