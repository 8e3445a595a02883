import Glibc
import PostgresClient

/// Who may log in to a compute, and how.
///
/// The platform's superuser exists for processes of Exzo's own user alone (`peer`: the kernel tells
/// who
/// connects); everyone else proves a password by SCRAM, also over the unix socket.
public enum ServerAccess {
  /// The platform's role; tenants never get its password, because it has none.
  public static let superuser = "exzo_superuser"

  /// A session of the platform's on a compute's socket.
  ///
  /// What it writes does not wait for capture, which may start only afterwards; no setting of the endpoint's ends it;
  /// and no name in it is looked up where tenants can make objects. A server whose catalogs lie in a distant store may
  /// need long for its first session.
  static func parameters(
    _ directory: LineDirectory, user: String = superuser, database: String = "postgres"
  ) -> ConnectionParameters {
    ConnectionParameters(
      host: directory.run, user: user, database: database, connectTimeout: 30,
      applicationName: "exzo agent",
      options: ConnectionParameters.platformOptions
        + " -c synchronous_commit=local -c search_path=pg_catalog")
  }

  /// Replication is open to whoever reaches the socket, which are our processes and those of the compute's
  /// own user, who can read the data directory anyway: a replica's server runs as that user, who need not
  /// have a name, and `peer` takes none without one (`auth_peer`, `auth.c`).
  ///
  /// - Parameter trustsTenants: for servers that read the past. They hold the passwords of then, so
  ///   whoever connects has proved today's before; only processes of the compute's user and of ours
  ///   reach the socket, and nobody can write.
  /// - Parameter others: further roles that only processes of Exzo's own user may take, by what the kernel tells.
  static func hostBasedAuthentication(
    trustsTenants: Bool = false, others: [String] = []
  ) -> String {
    """
    \(others.map { "local all \"\($0)\" peer map=platform\n" }.joined())local all \(superuser) peer map=platform
    local replication \(superuser) trust
    local all \(superuser) reject
    local replication all reject
    local all all \(trustsTenants ? "trust" : "scram-sha-256")

    """
  }

  static func identMap(ourUser: String, others: [String] = []) -> String {
    ([superuser] + others).map { "platform \"\(ourUser)\" \"\($0)\"\n" }.joined()
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
