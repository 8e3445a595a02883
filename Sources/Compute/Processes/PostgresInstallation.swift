import Glibc

/// The server binaries of one major version on this machine.
public struct PostgresInstallation: Sendable, Equatable {
  public var major: Int
  /// Directory of `postgres`, `initdb` and the client programs.
  public var binaries: String

  public init(major: Int, binaries: String) {
    self.major = major
    self.binaries = binaries
  }

  public var server: String { "\(binaries)/postgres" }

  /// Looks in `EXZO_POSTGRES_BIN_<major>`, then where Debian and a source build put them.
  public static func find(major: Int, environment: [String: String]) throws -> PostgresInstallation
  {
    var candidates = [
      "/usr/lib/postgresql/\(major)/bin", "/usr/pgsql-\(major)/bin", "/usr/local/pgsql/bin",
    ]
    if let named = environment["EXZO_POSTGRES_BIN_\(major)"] { candidates.insert(named, at: 0) }
    for directory in candidates where access("\(directory)/postgres", X_OK) == 0 {
      return PostgresInstallation(major: major, binaries: directory)
    }
    throw ComputeError(
      .serverMissing,
      "find the binaries of PostgreSQL \(major): none in \(candidates.joined(separator: ", "))",
      hint: "install the package postgresql-\(major), or set EXZO_POSTGRES_BIN_\(major)")
  }
}
