/// Where a server is and who connects to it.
///
/// Every value reaches libpq as a keyword of its own and is never parsed as a connection string, so
/// a database called `x host=evil` is only an odd name. What is `nil` takes libpq's default, which
/// includes its environment variables (`PGPASSWORD`, `PGSSLROOTCERT` …).
/// Source: PostgreSQL documentation, "Parameter Key Words".
public struct ConnectionParameters: Sendable, Hashable {
  /// A host name or address, or the absolute path of the directory that holds the unix socket.
  public var host: String
  public var port: Int
  public var user: String
  public var password: String?
  public var database: String
  /// Bound of one connection attempt in whole seconds; libpq takes 1 for 2.
  public var connectTimeout: Int
  /// Shown in `pg_stat_activity`, and the name that `synchronous_standby_names` refers to.
  public var applicationName: String
  /// `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`. Not used on unix
  /// sockets.
  public var sslMode: String?
  /// Command-line options for the session, such as `-c statement_timeout=5s`.
  public var options: String?
  /// Whether the server shall start a physical walsender instead of a backend.
  public var isReplication: Bool
  /// The address that is connected to; ``host`` is then only the name that a certificate must bear. Such a
  /// server is a stranger's: nothing on this machine that could open it to us (password file, client
  /// certificate) is used, and a peer that has gone silent is given up after half a minute.
  public var hostAddress: String?
  /// A PEM file of the authorities that the server's certificate is checked against, for `verify-ca` and
  /// `verify-full`. For a stranger's server nothing else of this machine is used.
  public var rootCertificates: String?

  public init(
    host: String, port: Int = 5432, user: String, password: String? = nil,
    database: String = "postgres", connectTimeout: Int = 10, applicationName: String = "exzo",
    sslMode: String? = nil, options: String? = nil, isReplication: Bool = false,
    hostAddress: String? = nil
  ) {
    self.hostAddress = hostAddress
    self.host = host
    self.port = port
    self.user = user
    self.password = password
    self.database = database
    self.connectTimeout = connectTimeout
    self.applicationName = applicationName
    self.sslMode = sslMode
    self.options = options
    self.isReplication = isReplication
  }

  private var isVerified: Bool { sslMode?.hasPrefix("verify-") ?? false }

  /// Keyword and value as `PQconnectdbParams` takes them.
  var keywords: [(String, String)] {
    var list = [
      ("host", host), ("port", String(port)), ("user", user), ("dbname", database),
      ("connect_timeout", String(connectTimeout)), ("application_name", applicationName),
      ("gssencmode", "disable"),
      // libpq takes an empty value for a missing one and then reads PGOPTIONS.
      ("options", options ?? " "),
    ]
    if let password { list.append(("password", password)) }
    if let sslMode { list.append(("sslmode", sslMode)) }
    if let hostAddress {
      list += [
        ("hostaddr", hostAddress), ("passfile", "/nonexistent"), ("sslcert", "/nonexistent"),
        ("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "4"),
        ("tcp_user_timeout", "30000"),
        // libpq checks a certificate under `require` too, where it finds a file.
        ("sslrootcert", isVerified ? rootCertificates ?? "/nonexistent" : "/nonexistent"),
      ]
    } else if let rootCertificates {
      list.append(("sslrootcert", rootCertificates))
    }
    list.append(isReplication ? ("replication", "true") : ("client_encoding", "UTF8"))
    return list
  }
}

extension ConnectionParameters {
  /// What the platform's own sessions and programs start with, so that no setting of a compute, a database or a role
  /// changes what they read or write, or ends them: it counts for more than those (`PGC_S_CLIENT`).
  public static let platformOptions = [
    "role=none", "statement_timeout=0", "lock_timeout=0", "idle_session_timeout=0",
    "idle_in_transaction_session_timeout=0", "default_transaction_read_only=off",
    "default_transaction_deferrable=off", "default_transaction_isolation=read\\ committed",
    "row_security=off", "datestyle=ISO", "intervalstyle=postgres", "extra_float_digits=3",
    "standard_conforming_strings=on", "array_nulls=on", "xmloption=content",
    "local_preload_libraries=",
  ].map { "-c \($0)" }.joined(separator: " ")
}

extension ConnectionParameters: CustomStringConvertible {
  /// Everything but the password.
  public var description: String {
    "host=\(host) port=\(port) user=\(user) database=\(database) application=\(applicationName)"
  }
}
