import Glibc

/// Who may log in to a compute, and how.
///
/// The platform's superuser exists for processes of Exzo's own user alone (`peer`: the kernel tells
/// who
/// connects); everyone else proves a password by SCRAM, also over the unix socket.
public enum ServerAccess {
  /// The platform's role; tenants never get its password, because it has none.
  public static let superuser = "exzo_superuser"

  static func hostBasedAuthentication() -> String {
    """
    local all \(superuser) peer map=platform
    local replication \(superuser) peer map=platform
    local all \(superuser) reject
    local replication all reject
    local all all scram-sha-256

    """
  }

  static func identMap(ourUser: String) -> String {
    "platform \"\(ourUser)\" \(superuser)\n"
  }

  /// The name of the user we run as; the server compares it with the peer's.
  static func currentUserName() throws -> String {
    guard let record = getpwuid(getuid()) else {
      throw ComputeError(
        .environment, "look up the name of user \(getuid()): no entry",
        hint: "add the user to /etc/passwd, or run as another")
    }
    return String(cString: record.pointee.pw_name)
  }
}
