import Compute
import ControlPlane
import Foundation
import Logging
import Synchronization

/// One PgBouncer for each endpoint that someone connects to through its `-pooler` name.
///
/// # Purpose
/// Many clients over few sessions of the server, in transaction mode. The proxy stays in front: it
/// authenticates, wakes, and counts; PgBouncer listens on a unix socket only.
/// # State and invariants
/// 1. A pooler runs as its project's user, in a directory of that user's own.
/// 2. Its users are those that have logged in through the proxy, with the verifiers that the compute
///    holds; no password is known to it.
/// 3. A pooler ends when its compute does, so that clients connect anew and wake it.
/// # On disk
/// `DATA_DIR/poolers/ENDPOINT/`: `pgbouncer.ini`, `users`, `pgbouncer.pid`, the socket, the log.
/// # Crash
/// Poolers outlive a killed `serve`; the next one ends them, since nobody is connected any more.
/// # Concurrency
/// An actor: starts go one after the other.
actor Poolers {
  private struct Pooler {
    var pid: pid_t
    var line: String
    var verifiers: [String: String]
  }

  private let directory: String
  private let program: String
  private let identities: IdentityRegistry
  private let log: Logger
  private var running: [String: Pooler] = [:]

  private static let port = 6432
  private static let startAttempts = 200

  /// Where the program is; `nil` where it is not installed.
  static func program() -> String? {
    ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"].first {
      access($0, X_OK) == 0
    }
  }

  init(dataDirectory: String, program: String, identities: IdentityRegistry, log: Logger) {
    directory = "\(dataDirectory)/poolers"
    self.program = program
    self.identities = identities
    self.log = log
  }

  /// The socket of the endpoint's pooler, which runs on return and knows the role.
  ///
  /// A role that is new to a pooler that runs is known to it a moment later: see the proxy's
  /// repetition of pooled logins.
  func socket(
    endpoint: String, project: String, compute: RunningCompute, role: String, verifier: String
  ) async throws -> String {
    let path = "\(directory)/\(endpoint)"
    let socket = "\(path)/.s.PGSQL.\(Self.port)"
    if let pooler = running[endpoint] {
      if hasEnded(pooler) {
        running[endpoint] = nil
      } else if pooler.line != compute.lineID {
        end(endpoint)
      }
    }
    if var pooler = running[endpoint] {
      guard pooler.verifiers[role] != verifier else { return socket }
      pooler.verifiers[role] = verifier
      let identity = try identities.identity(project: project)
      try write(users: pooler.verifiers, in: path, identity)
      running[endpoint] = pooler
      kill(pooler.pid, SIGHUP)
      return socket
    }
    let identity = try identities.identity(project: project)
    try prepare(path, identity)
    try write(users: [role: verifier], in: path, identity)
    try write(Self.configuration(path, compute), to: "\(path)/pgbouncer.ini", identity)
    unlink(socket)
    let command = ProcessCommand(
      path: program, arguments: ["\(path)/pgbouncer.ini"],
      environment: ["PATH": "/usr/bin:/bin"])
    let pid = try spawn(identity.applied(to: command, endsWithUs: false))
    running[endpoint] = Pooler(pid: pid, line: compute.lineID, verifiers: [role: verifier])
    try await waitUntilListening(socket, pid, endpoint)
    return socket
  }

  /// Whether the process is gone; then it is reaped.
  private func hasEnded(_ pooler: Pooler) -> Bool {
    var status: Int32 = 0
    return waitpid(pooler.pid, &status, WNOHANG) != 0
  }

  private func waitUntilListening(_ socket: String, _ pid: pid_t, _ endpoint: String) async throws {
    for _ in 0..<Self.startAttempts {
      if access(socket, F_OK) == 0 { return }
      var status: Int32 = 0
      if waitpid(pid, &status, WNOHANG) == pid {
        running[endpoint] = nil
        throw ComputeError(
          .process, "start the pooler of '\(endpoint)': it \(describe(waitStatus: status))",
          hint: "its log is '\(directory)/\(endpoint)/log'")
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    end(endpoint)
    throw ComputeError(.process, "start the pooler of '\(endpoint)': it does not listen")
  }

  /// Lines that poolers are for.
  var lines: Set<String> { Set(running.values.map(\.line)) }

  /// Ends the poolers of a line whose compute no longer runs.
  func end(line: String) {
    for (endpoint, pooler) in running where pooler.line == line { end(endpoint) }
  }

  func endAll() { for endpoint in running.keys { end(endpoint) } }

  private func end(_ endpoint: String) {
    guard let pooler = running.removeValue(forKey: endpoint) else { return }
    kill(pooler.pid, SIGTERM)
    // Off the actor: it waits until the process is gone.
    Thread.detachNewThread { _ = reap(pooler.pid) }
  }

  /// Ends what an earlier serve left behind.
  static func endLeftovers(dataDirectory: String) {
    let directory = "\(dataDirectory)/poolers"
    // No directory means that there never was a pooler.
    for endpoint in (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [] {
      let path = "\(directory)/\(endpoint)/pgbouncer.pid"
      // A pooler that ended has removed its file.
      guard let text = try? String(contentsOfFile: path, encoding: .utf8),
        let pid = pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines)),
        let name = try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8),
        name.hasPrefix("pgbouncer")
      else { continue }
      kill(pid, SIGTERM)
    }
  }

  // MARK: files

  private func prepare(_ path: String, _ identity: ProcessIdentity) throws {
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: nil)
    chmod(directory, 0o711)
    chmod(path, 0o700)
    guard chown(path, identity.uid, identity.gid) == 0 else {
      throw ComputeError(
        .process, "give '\(path)' to its user: \(String(cString: strerror(errno)))")
    }
  }

  private func write(
    users: [String: String], in path: String, _ identity: ProcessIdentity
  ) throws {
    let lines = users.sorted { $0.key < $1.key }.map { name, verifier in
      "\"\(name.replacing("\"", with: "\"\""))\" \"\(verifier)\"\n"
    }
    try write(lines.joined(), to: "\(path)/users", identity)
  }

  /// Replaces a file whole, readable to its user only.
  private func write(_ text: String, to path: String, _ identity: ProcessIdentity) throws {
    let draft = path + ".new"
    try Data(text.utf8).write(to: URL(fileURLWithPath: draft))
    chmod(draft, 0o600)
    guard chown(draft, identity.uid, identity.gid) == 0, rename(draft, path) == 0 else {
      throw ComputeError(.process, "write '\(path)': \(String(cString: strerror(errno)))")
    }
  }

  private static func configuration(_ path: String, _ compute: RunningCompute) -> String {
    """
    [databases]
    * = host=\(compute.socketDirectory) port=\(compute.port)
    [pgbouncer]
    listen_addr =
    listen_port = \(port)
    unix_socket_dir = \(path)
    unix_socket_mode = 0700
    pidfile = \(path)/pgbouncer.pid
    logfile = \(path)/log
    log_connections = 0
    log_disconnections = 0
    auth_type = scram-sha-256
    auth_file = \(path)/users
    pool_mode = transaction
    max_client_conn = 10000
    default_pool_size = 40
    max_db_connections = 80
    query_wait_timeout = 30
    server_login_retry = 1
    ignore_startup_parameters = extra_float_digits,options

    """
  }
}
