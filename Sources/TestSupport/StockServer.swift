import Foundation

/// A stock PostgreSQL server for tests: the oracle. It listens on a unix socket in its own directory
/// only, runs as `postgres` when the tests run as root, and is stopped by ``stop()`` or on deinit.
public final class StockServer: @unchecked Sendable {
  public let directory: String
  public let dataDirectory: String
  public let port: Int
  public let binaries: String
  private var running = false

  /// Runs `initdb` (checksums on, superuser `postgres`, trust) below `directory` and appends `settings` to
  /// `postgresql.conf`. Does not start the server.
  public init(
    in directory: String, major: Int = 15, settings: [String] = [], initdbOptions: [String] = []
  ) throws {
    self.directory = directory
    binaries = StockServer.binaries(major: major)
    dataDirectory = "\(directory)/data"
    port = 5432
    try run(["mkdir", "-p", directory])
    if getuid() == 0 { try run(["chown", "postgres:postgres", directory]) }
    try run(
      [
        "\(binaries)/initdb", "-D", dataDirectory, "-U", "postgres", "-A", "trust", "-k", "-N",
        "--locale=C", "-E", "UTF8",
      ] + initdbOptions, asPostgresUser: true)
    let lines =
      [
        "listen_addresses=''", "unix_socket_directories='\(directory)'", "fsync=off",
        "max_wal_size=4GB",
      ] + settings
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(dataDirectory)/postgresql.conf"))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data((lines.joined(separator: "\n") + "\n").utf8))
    try handle.close()
  }

  deinit { if running { try? stop(mode: "immediate") } } // a deinit cannot throw; tests call stop()

  public static func binaries(major: Int) -> String { "/usr/lib/postgresql/\(major)/bin" }

  public func start() throws {
    try run(
      ["\(binaries)/pg_ctl", "-D", dataDirectory, "-l", "\(directory)/log", "-w", "start"],
      asPostgresUser: true)
    running = true
  }

  /// - Parameter mode: `fast`, `smart` or `immediate`.
  public func stop(mode: String = "fast") throws {
    try run(
      ["\(binaries)/pg_ctl", "-D", dataDirectory, "-m", mode, "-w", "stop"], asPostgresUser: true)
    running = false
  }

  /// Runs SQL through `psql -AtX`, stops at the first error, and returns what it printed.
  @discardableResult
  public func psql(_ sql: String, database: String = "postgres") throws -> String {
    try run(
      [
        "\(binaries)/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-h", directory, "-U", "postgres",
        "-d", database,
      ], input: sql
    ).output.trimmingCharacters(in: .newlines)
  }

  @discardableResult
  public func pgbench(_ options: [String], database: String = "postgres") throws -> String {
    try run(["\(binaries)/pgbench", "-h", directory, "-U", "postgres"] + options + [database]).output
  }
}
