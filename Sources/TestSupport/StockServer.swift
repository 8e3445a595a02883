import Foundation
import PostgresFormat

/// A stock PostgreSQL server for tests: the oracle. It listens on a unix socket in its own
/// directory
/// only, runs as `postgres` when the tests run as root, and is stopped by ``stop(mode:)`` or on
/// deinit.
///
/// Every call blocks its thread.
public final class StockServer: @unchecked Sendable {
  public let directory: String
  public let dataDirectory: String
  public let port: Int
  public let major: Int
  public let binaries: String
  private var running = false

  /// Runs `initdb` (checksums on, superuser `postgres`, trust, replication allowed on the socket)
  /// below
  /// `directory` and appends `settings` to `postgresql.conf`. Does not start the server.
  /// - Parameter tcpPort: also listens there on 127.0.0.1; the socket bears its number then.
  public init(
    in directory: String, major: Int = 15, settings: [String] = [], initdbOptions: [String] = [],
    tcpPort: Int? = nil
  ) throws {
    self.directory = directory
    self.major = major
    binaries = StockServer.binaries(major: major)
    dataDirectory = "\(directory)/data"
    port = tcpPort ?? 5432
    try StockServer.makeOwnedDirectory(directory)
    try run(
      [
        "\(binaries)/initdb", "-D", dataDirectory, "-U", "postgres", "-A", "trust", "-k", "-N",
        "--locale=C", "-E", "UTF8",
      ] + initdbOptions, asPostgresUser: true)
    try append(
      settings: [
        "listen_addresses='\(tcpPort == nil ? "" : "127.0.0.1")'", "port=\(port)",
        "unix_socket_directories='\(directory)'", "fsync=off", "max_wal_size=4GB",
      ] + settings)
  }

  /// Takes over a data directory that exists (`directory/data`), such as an unpacked base backup.
  public init(adopting directory: String, major: Int = 15, settings: [String] = []) throws {
    self.directory = directory
    self.major = major
    binaries = StockServer.binaries(major: major)
    dataDirectory = "\(directory)/data"
    port = 5432
    try append(
      settings: ["listen_addresses=''", "unix_socket_directories='\(directory)'", "fsync=off"]
        + settings)
  }

  // A deinit cannot throw, and an immediate stop of a server that is already gone is no failure.
  deinit { if running { try? stop(mode: "immediate") } }

  public static func binaries(major: Int) -> String { "/usr/lib/postgresql/\(major)/bin" }

  /// Makes a directory that the server's user owns.
  public static func makeOwnedDirectory(_ path: String) throws {
    try run(["mkdir", "-p", path])
    if getuid() == 0 { try run(["chown", "postgres:postgres", path]) }
  }

  /// The superuser on the socket, database `postgres`.
  public var connection: ServerConnection {
    ServerConnection(host: directory, port: port, major: major)
  }

  /// Appends lines to `postgresql.conf`; in force from the next start or reload.
  public func append(settings: [String]) throws {
    try append(lines: settings, to: "postgresql.conf")
  }

  /// Appends lines to `pg_hba.conf`; in force from the next start or reload.
  public func append(hostBasedAuthentication lines: [String]) throws {
    try append(lines: lines, to: "pg_hba.conf")
  }

  private func append(lines: [String], to file: String) throws {
    let url = URL(fileURLWithPath: "\(dataDirectory)/\(file)")
    let handle = try FileHandle(forWritingTo: url)
    defer { try? handle.close() }  // written and read back by the server itself
    try handle.seekToEnd()
    try handle.write(contentsOf: Data((lines.joined(separator: "\n") + "\n").utf8))
  }

  /// Starts and waits until connections are taken, a replay included.
  /// - Throws: ``CommandFailure`` with the end of the server's log.
  public func start(timeoutSeconds: Int = 120) throws {
    let result = try run(
      [
        "\(binaries)/pg_ctl", "-D", dataDirectory, "-l", "\(directory)/log", "-t",
        "\(timeoutSeconds)", "-w", "start",
      ], asPostgresUser: true, allowFailure: true)
    guard result.status == 0 else {
      let log = try run(["tail", "-n", "20", "\(directory)/log"], allowFailure: true).output
      throw CommandFailure(description: "start \(dataDirectory): \(result.errorOutput)\n\(log)")
    }
    running = true
  }

  /// - Parameter mode: `fast`, `smart` or `immediate`.
  public func stop(mode: String = "fast") throws {
    try run(
      ["\(binaries)/pg_ctl", "-D", dataDirectory, "-m", mode, "-w", "stop"], asPostgresUser: true)
    running = false
  }

  public func restart(mode: String = "fast") throws {
    if running { try stop(mode: mode) }
    try start()
  }

  /// The postmaster's process id; `nil` when it is not running.
  public var processIdentifier: Int32? {
    guard let text = try? String(contentsOfFile: "\(dataDirectory)/postmaster.pid", encoding: .utf8)
    else { return nil }  // no such file: not running
    return text.split(separator: "\n").first.flatMap { Int32($0) }
  }

  /// `kill -9` of the postmaster; returns when no process is left in the data directory, so that
  /// ``start(timeoutSeconds:)`` works at once. Other processes of the server end by themselves
  /// then.
  public func kill() throws {
    guard let pid = processIdentifier else {
      throw CommandFailure(description: "kill \(dataDirectory): not running")
    }
    guard Foundation.kill(pid, SIGKILL) == 0 else {
      throw CommandFailure(description: "kill \(pid): errno \(errno)")
    }
    running = false
    let deadline = Date().addingTimeInterval(30)
    while try StockServer.isInUse(dataDirectory) {
      guard Date() < deadline else {
        throw CommandFailure(description: "kill \(dataDirectory): processes left after 30 s")
      }
      usleep(5_000)
    }
    // Until an init reaps it the dead postmaster keeps its process id, and a new one would take it
    // for
    // alive. That nobody works in the directory has just been proved.
    for lock in ["\(dataDirectory)/postmaster.pid", "\(directory)/.s.PGSQL.\(port).lock"] {
      try FileManager.default.removeItem(atPath: lock)
    }
  }

  /// Whether a process works in a directory. One that has ended works nowhere, reaped or not.
  private static func isInUse(_ directory: String) throws -> Bool {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").contains { name in
      guard Int32(name) != nil else { return false }
      var path = [CChar](repeating: 0, count: Int(PATH_MAX))
      let length = readlink("/proc/\(name)/cwd", &path, path.count - 1)
      return length > 0
        && String(decoding: path[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
          == directory
    }
  }

  /// Runs SQL through `psql -AtX`, stops at the first error, and returns what it printed.
  @discardableResult
  public func psql(_ sql: String, database: String = "postgres") throws -> String {
    try connection.with(database: database).psql(sql)
  }

  @discardableResult
  public func pgbench(_ options: [String], database: String = "postgres") throws -> String {
    try connection.with(database: database).pgbench(options)
  }
}
