import Foundation
import Glibc
import Logging
import PostgresClient

/// The private PostgreSQL that holds the metadata when no other is named.
///
/// *Purpose*: `initdb` once, then start, watch and stop a small server below the data directory.
///
/// *State and invariants*: 1. The cluster in `DIR/metadata` is whole: it is made beside and
/// renamed. 2. At most one server runs on it (PostgreSQL's own lock file). 3. It listens on the
/// unix socket in `DIR/metadata-socket` only, mode 0700, and accepts the user that runs it and the
/// one that runs `serve`, by `peer`.
///
/// *On disk*: `DIR/metadata`, `DIR/metadata-socket/.s.PGSQL.5432`, `DIR/metadata/server.log`.
///
/// *Crash*: a server that outlived a killed `serve` is used on; one that died is started again by
/// ``supervise()`` and recovers by itself.
///
/// *Concurrency*: ``start()`` and ``stop()`` one after the other; no call blocks the cooperative
/// pool.
///
/// *Not guarded here*: two `serve` processes on one data directory; `serve` holds a lock for that.
public final class EmbeddedMetadataServer: Sendable {
  private let directory: String
  private let binaries: String
  private let command: ServerCommand
  private let logger: Logger

  private var data: String { "\(directory)/metadata" }
  private var socketDirectory: String { "\(directory)/metadata-socket" }
  private var log: String { "\(directory)/metadata/server.log" }

  /// The superuser of the embedded server.
  private static let superuser = "exzo"
  /// `sun_path` has 108 bytes, a terminating zero among them (`unix(7)`).
  private static let socketPathLimit = 107
  /// Attempts after the first, some nine seconds of them.
  private static let launchLimit = 8

  /// - Parameters:
  ///   - directory: the absolute path of `serve`'s data directory. The server's user must be able
  /// to pass through it.
  ///   - binaries: where `postgres`, `initdb` and `pg_ctl` are.
  ///   - user: who runs the server when the process is root; ignored otherwise.
  /// - Throws: ``CatalogError`` `.server` for a path that is too long or programs that are not
  /// there.
  public init(
    directory: String, binaries: String = "/usr/lib/postgresql/15/bin", user: String = "postgres",
    logger: Logger
  ) throws {
    self.directory = directory
    self.binaries = binaries
    self.logger = logger
    command = ServerCommand(user: getuid() == 0 ? user : nil)
    let socket = "\(directory)/metadata-socket/.s.PGSQL.5432"
    guard socket.utf8.count <= Self.socketPathLimit else {
      throw CatalogError(
        .server,
        "place metadata socket '\(socket)': longer than \(Self.socketPathLimit) bytes. "
          + "HINT: use a data directory with a shorter path")
    }
    for program in ["initdb", "pg_ctl", "postgres"]
    where access("\(binaries)/\(program)", X_OK) != 0 {
      throw CatalogError(
        .server, "find '\(binaries)/\(program)': not there. HINT: install postgresql-15")
    }
  }

  /// Where to connect.
  public var connectionParameters: ConnectionParameters {
    ConnectionParameters(
      host: socketDirectory, user: Self.superuser, database: "postgres",
      applicationName: "exzo-catalog")
  }

  /// Makes the cluster if there is none, and starts the server unless it runs. It accepts
  /// connections on return.
  /// - Throws: ``CatalogError`` `.server` with the end of what the program said.
  public func start() async throws {
    try await createCluster()
    try await prepareDirectory(socketDirectory)
    try writeSettings()
    if try await isRunning() {
      logger.info("metadata server was running already")
      return
    }
    do {
      try await launch()
    } catch let error as CatalogError {
      if try await isUpAfterAll() { return }
      let tail = try PrivateFile.read(log, limit: 1 << 20).map {
        String(decoding: $0.suffix(1500), as: UTF8.self)
      }
      throw CatalogError(.server, "\(error.message)\n\(tail ?? "")")
    }
    logger.info("metadata server started")
  }

  private func launch() async throws {
    try removeStaleLock()
    try await command.check(
      ["\(binaries)/pg_ctl", "-D", data, "-l", log, "-s", "-w", "-t", "120", "start"],
      doing: "start metadata server")
  }

  /// Whether what stood in the way has gone: a server that a killed `serve` was starting is up now, or it has
  /// ended and ours is up.
  private func isUpAfterAll() async throws -> Bool {
    var launches = 0
    for _ in 0..<60 {
      if try await isRunning() {
        if try await isReady() { return true }
      } else {
        guard launches < Self.launchLimit else { return false }
        launches += 1
        if try await couldLaunch() { return true }
      }
      try await Task.sleep(for: .milliseconds(250 * max(1, launches)))
    }
    return false
  }

  private func couldLaunch() async throws -> Bool {
    do {
      try await launch()
      return true
    } catch is CatalogError {
      return false  // the caller throws the first failure
    }
  }

  private func isReady() async throws -> Bool {
    do {
      try await command.check(
        ["\(binaries)/pg_isready", "-q", "-h", socketDirectory], doing: "ask metadata server")
      logger.info("metadata server was starting already")
      return true
    } catch is CatalogError {
      return false
    }
  }

  /// Stops the server: open transactions are rolled back, everything committed is on disk.
  /// Idempotent.
  public func stop() async throws {
    guard try await isRunning() else { return }
    try await command.check(
      ["\(binaries)/pg_ctl", "-D", data, "-s", "-w", "-t", "120", "-m", "fast", "stop"],
      doing: "stop metadata server")
  }

  /// Starts the server again whenever it has died; returns when the task is cancelled.
  public func supervise(every interval: Duration = .seconds(1)) async {
    while !Task.isCancelled {
      do {
        try await Task.sleep(for: interval)
        if try await !isRunning() {
          logger.warning("metadata server is down, starting it again")
          try await start()
        }
      } catch is CancellationError {
        return
      } catch {
        logger.error("metadata server could not be started", metadata: ["error": "\(error)"])
      }
    }
  }

  /// Whether a postmaster works on our cluster: its process id is in the lock file, and its
  /// working directory is ours.
  public func isRunning() async throws -> Bool {
    try lockHolder().map { isPostmaster($0) } ?? false
  }
}

extension EmbeddedMetadataServer {
  private func createCluster() async throws {
    guard access("\(data)/PG_VERSION", F_OK) != 0 else { return }
    let unfinished = "\(data).new"
    if access(unfinished, F_OK) == 0 { try FileManager.default.removeItem(atPath: unfinished) }
    try await prepareDirectory(unfinished)
    try await command.check(
      [
        "\(binaries)/initdb", "-D", unfinished, "-U", Self.superuser, "-A", "peer", "-k", "-E",
        "UTF8",
        "--locale=C",
      ], doing: "make metadata cluster")
    // One syncfs(2) instead of initdb's fsync of each of a thousand files.
    try await command.check(
      ["/usr/bin/sync", "-f", unfinished], doing: "make metadata cluster durable")
    let runner = command.user ?? Self.name(of: getuid())
    let admitted = Set([runner, Self.name(of: getuid())]).sorted()
    try overwrite("\(unfinished)/pg_hba.conf", "local all all peer map=exzo\n")
    try overwrite(
      "\(unfinished)/pg_ident.conf", admitted.map { "exzo \($0) \(Self.superuser)\n" }.joined())
    try overwrite("\(unfinished)/postgresql.conf", "include 'exzo.conf'\n")
    guard rename(unfinished, data) == 0 else { throw PrivateFile.failure("rename", unfinished) }
    try PrivateFile.syncDirectory(of: data)
    logger.info("metadata cluster made")
  }

  /// A directory of the server's user that nobody else can enter.
  private func prepareDirectory(_ path: String) async throws {
    if mkdir(path, 0o700) != 0, errno != EEXIST { throw PrivateFile.failure("make", path) }
    guard let user = command.user else { return }
    guard let entry = getpwnam(user) else {
      throw CatalogError(
        .server, "find user '\(user)': there is none. HINT: install postgresql-15 or make the user")
    }
    guard chown(path, entry.pointee.pw_uid, entry.pointee.pw_gid) == 0 else {
      throw PrivateFile.failure("give away", path)
    }
  }

  /// Rewritten at each start, so that a later version's settings take effect.
  private func writeSettings() throws {
    let settings = """
      listen_addresses = ''
      unix_socket_directories = '\(socketDirectory.replacingOccurrences(of: "'", with: "''"))'
      unix_socket_permissions = 0700
      port = 5432
      max_connections = 40
      shared_buffers = 32MB
      work_mem = 4MB
      maintenance_work_mem = 32MB
      max_wal_size = 256MB
      wal_level = minimal
      max_wal_senders = 0
      max_worker_processes = 2
      max_parallel_workers_per_gather = 0
      autovacuum_max_workers = 1
      autovacuum_naptime = 5min
      bgwriter_lru_maxpages = 0
      timezone = 'UTC'
      log_timezone = 'UTC'
      lc_messages = 'C'
      jit = off

      """
    try overwrite("\(data)/exzo.conf", settings)
  }

  private func overwrite(_ path: String, _ text: String) throws {
    try PrivateFile.write(Array(text.utf8), to: path)
    if let user = command.user, let entry = getpwnam(user),
      chown(path, entry.pointee.pw_uid, entry.pointee.pw_gid) != 0
    {
      throw PrivateFile.failure("give away", path)
    }
  }

  private static func name(of user: uid_t) -> String {
    getpwuid(user).map { String(cString: $0.pointee.pw_name) } ?? String(user)
  }

  /// The process id in `postmaster.pid`; its first line.
  private func lockHolder() throws -> pid_t? {
    guard let bytes = try PrivateFile.read("\(data)/postmaster.pid") else { return nil }
    let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first
    return line.flatMap { pid_t($0.trimmingCharacters(in: .whitespaces)) }
  }

  private func isPostmaster(_ process: pid_t) -> Bool {
    Self.workingDirectory(of: process) == Self.canonical(data)
  }

  /// `nil` where there is no such process, or it is not ours to look at.
  private static func workingDirectory(of process: pid_t) -> String? {
    var target = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink("/proc/\(process)/cwd", &target, target.count - 1)
    guard count > 0 else { return nil }
    return String(decoding: target[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  private static func canonical(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  /// PostgreSQL refuses to start while the lock file's process id is taken: after a reboot by a
  /// stranger, after a kill by a dead postmaster that its parent never waits for. The file is
  /// removed only where the process can be seen to be one of those and nobody works on the
  /// cluster; all else PostgreSQL decides itself.
  private func removeStaleLock() throws {
    guard let holder = try lockHolder(), !isPostmaster(holder) else { return }
    let isStranger = Self.workingDirectory(of: holder) != nil
    guard isStranger || (Self.isZombie(holder) && !isInUse()) else { return }
    guard unlink("\(data)/postmaster.pid") == 0 else {
      throw PrivateFile.failure("remove", "\(data)/postmaster.pid")
    }
  }

  /// `proc(5)`: the state follows the name, which may hold any character but is in parentheses.
  private static func isZombie(_ process: pid_t) -> Bool {
    // A process that is gone is no zombie.
    guard let stat = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
      let name = stat.lastIndex(of: ")")
    else { return false }
    return stat[stat.index(after: name)...].trimmingCharacters(in: .whitespaces).hasPrefix("Z")
  }

  /// Whether any process works in the cluster's directory: a dead postmaster's children.
  private func isInUse() -> Bool {
    // Without a list of processes nothing is known, and the lock stays.
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc") else {
      return true
    }
    return names.compactMap { pid_t($0) }.contains { isPostmaster($0) }
  }
}
