import DurableIO
import Foundation
import History
import Logging
import Synchronization

/// The agents of one data directory: started, found again, asked, ended.
///
/// Purpose: everything serve does with computes goes through here.
/// State: 1. what is on disk is the truth: a line's directory with its `compute.json` and socket;
/// this object
/// holds only what is under way; 2. at most one start of a line is under way at a time.
/// Crash: serve may die at any point; ``start(_:)`` is repeated with the same specification.
/// Concurrency: any task.
public final class AgentFleet: Sendable {
  public struct Configuration: Sendable {
    public var dataDirectory: String
    /// The program that is run as `PROGRAM agent --directory …`.
    public var agentProgram: String
    /// Environment of agents: what the object store's credentials need, nothing else.
    public var environment: [String: String]
    /// How long an opening may take, seconds.
    public var startTimeout: Int

    public init(
      dataDirectory: String, agentProgram: String, environment: [String: String],
      startTimeout: Int = 600
    ) {
      self.dataDirectory = dataDirectory
      self.agentProgram = agentProgram
      self.environment = environment
      self.startTimeout = startTimeout
    }
  }

  public let configuration: Configuration
  private let log: Logger
  private let starts = Mutex<[String: Task<AgentStatus, any Error>]>([:])
  /// One gate a line: starts and ends of one compute follow each other.
  private let gates = Mutex<[String: AsyncGate]>([:])
  /// Agents that are being ended: their end is no accident.
  private let ending = Mutex<Set<pid_t>>([])
  private let openings = Mutex<[Opening: Int]>([:])
  /// Accidents in a row, by line.
  private let accidents = Mutex<[String: Int]>([:])
  /// Orders to start or to stop, by line: a revival gives way to what was ordered after the accident.
  private let orders = Mutex<[String: Int]>([:])

  /// How moments were opened.
  public struct Opening: Hashable, Sendable {
    public var way: OpeningWay
    /// Why by replay.
    public var reason: String?
  }

  /// Moments opened since this object was made.
  public var openingCounts: [Opening: Int] { openings.withLock { $0 } }

  public init(configuration: Configuration, log: Logger) {
    self.configuration = configuration
    self.log = log
  }

  public func directory(line: String) -> LineDirectory {
    LineDirectory(dataDirectory: configuration.dataDirectory, line: line)
  }

  public func client(line: String) -> AgentClient { AgentClient(directory: directory(line: line)) }

  /// Starts the line's compute, or joins a start under way, and returns once it accepts
  /// connections.
  /// - Parameter secrets: go into the agent's environment, and on no disk.
  public func start(
    _ specification: AgentSpecification, secrets: [String: String] = [:]
  ) async throws -> AgentStatus {
    let line = specification.line
    noteOrder(line)
    let task = starts.withLock { starts in
      if let running = starts[line] { return running }
      let task = Task {
        try await self.gate(line).run { try await self.startAlone(specification, secrets) }
      }
      starts[line] = task
      return task
    }
    defer { starts.withLock { if $0[line] == task { $0[line] = nil } } }
    return try await task.value
  }

  private func startAlone(
    _ specification: AgentSpecification, _ secrets: [String: String]
  ) async throws -> AgentStatus {
    let client = client(line: specification.line)
    if let status = await client.status() {
      if status.phase == .opening || status.phase == .running {
        return try await waitUntilRunning(client)
      }
      try await end(client, status)
    }
    try await clear(line: specification.line)
    try write(specification)
    try launch(line: specification.line, secrets)
    do {
      let status = try await waitUntilRunning(client)
      if let way = status.opening {
        openings.withLock { $0[Opening(way: way, reason: status.replayReason), default: 0] += 1 }
      }
      return status
    } catch {
      // An opening that failed holds nothing: its agent and server are ended, the reason is kept.
      if let status = await client.status(), status.phase == .failed {
        try await end(client, status)
        try await clear(line: specification.line)
      }
      throw error
    }
  }

  private func noteOrder(_ line: String) { orders.withLock { $0[line, default: 0] += 1 } }

  private func gate(_ line: String) -> AsyncGate {
    gates.withLock { gates in
      let gate = gates[line] ?? AsyncGate()
      gates[line] = gate
      return gate
    }
  }

  /// Stops the line's compute cleanly; no error where none runs.
  public func suspend(line: String) async throws {
    noteOrder(line)
    try await gate(line).run { try await self.suspendAlone(line: line) }
  }

  private func suspendAlone(line: String) async throws {
    let client = client(line: line)
    if let status = await client.status() { try await end(client, status) }
    try await clear(line: line)
  }

  /// Ends an agent: cleanly where it can, by force where it does not answer any more.
  private func end(_ client: AgentClient, _ status: AgentStatus) async throws {
    ending.withLock { _ = $0.insert(status.agentPID) }
    do {
      _ = try await client.ask(.suspend, timeout: 300)
    } catch {
      log.warning(
        "agent did not stop cleanly",
        metadata: ["directory": "\(client.directory.path)", "error": "\(error)"])
    }
    try await withThread(named: "end-agent") {
      for _ in 0..<500 where kill(status.agentPID, 0) == 0 { usleep(10_000) }
      if kill(status.agentPID, 0) == 0 { kill(status.agentPID, SIGKILL) }
      for _ in 0..<500 where kill(status.agentPID, 0) == 0 { usleep(10_000) }
    }
  }

  /// Stops the compute and deletes what the line has on local disk; its history stays in the object
  /// store.
  public func destroy(line: String) async throws {
    noteOrder(line)
    try await gate(line).run {
      try await self.suspendAlone(line: line)
      let path = self.directory(line: line).path
      guard FileManager.default.fileExists(atPath: path) else { return }
      try await withThread(named: "destroy") { try self.remove(path, of: line) }
    }
    gates.withLock { $0[line] = nil }
  }

  /// Takes the directory away at once, and then removes it: one that is half removed would look like a volume that
  /// had an accident.
  private func remove(_ path: String, of line: String) throws {
    let files = FileManager.default
    try files.createDirectory(
      atPath: removedDirectory, withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    let gone = "\(removedDirectory)/\(line)-\(UUID().uuidString.lowercased())"
    try files.moveItem(atPath: path, toPath: gone)
    try files.removeItem(atPath: gone)
  }

  private var removedDirectory: String { "\(configuration.dataDirectory)/removed" }

  /// Removes what a killed process had begun to remove, beside everything else: it may be a lot.
  public func finishRemovals() {
    Thread.detachNewThread { [log, directory = removedDirectory] in
      // Nothing was ever removed where there is no such directory.
      for name in (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? [] {
        do { try FileManager.default.removeItem(atPath: "\(directory)/\(name)") } catch {
          log.warning("what was removed takes space still", metadata: ["error": "\(error)"])
        }
      }
    }
  }

  /// Lines that have a directory here, whether or not their compute runs.
  public func lines() -> [String] {
    let path = "\(configuration.dataDirectory)/lines"
    // Before the first line there is no such directory.
    return ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
  }

  /// Whether the object store holds everything that the line's compute ever acknowledged: after a clean
  /// stop, or where the line never ran here.
  public func isDrained(line: String) -> Bool {
    let directory = directory(line: line)
    return access(directory.openedMarker, F_OK) != 0 || access(directory.drainedMarker, F_OK) == 0
  }

  /// Whether the object store holds all that came of the server elsewhere that the line follows: after a clean stop, or
  /// where nothing came here.
  public func isDrained(following line: String) -> Bool {
    let directory = directory(line: line)
    // A line that was never followed here has no spool.
    guard access(directory.spool, F_OK) == 0 || errno != ENOENT else { return true }
    let spooled = try? FileManager.default.contentsOfDirectory(atPath: directory.spool)
    return spooled?.isEmpty == true || access(directory.followedDrainedMarker, F_OK) == 0
  }

  /// The specification a line was last started with, or `nil` where it has no volume here.
  public func specification(line: String) throws -> AgentSpecification? {
    guard let bytes = FileManager.default.contents(atPath: directory(line: line).specification)
    else { return nil }
    return try JSONDecoder().decode(AgentSpecification.self, from: bytes)
  }

  /// Ends every agent of this data directory; used by `exzo shutdown`. Goes on after a failure and throws
  /// the first.
  public func suspendAll() async throws {
    let lines = lines()
    let failure = await withTaskGroup(of: (any Error)?.self) { group in
      var first: (any Error)?
      for (number, line) in lines.enumerated() {
        // Most of the time each waits for the disk.
        if number >= AgentFleet.suspendsAtOnce, let ended = await group.next() {
          first = first ?? ended
        }
        group.addTask { await self.failureSuspending(line) }
      }
      return await group.reduce(first) { $0 ?? $1 }
    }
    if let failure { throw failure }
  }

  private func failureSuspending(_ line: String) async -> (any Error)? {
    do {
      try await suspend(line: line)
      return nil
    } catch {
      log.error("suspend failed", metadata: ["line": "\(line)", "error": "\(error)"])
      return error
    }
  }

  private static let suspendsAtOnce = 4

  private func waitUntilRunning(_ client: AgentClient) async throws -> AgentStatus {
    for _ in 0..<400 {
      if client.hasSocket, case .status(let status)? = try await answer(client) { return status }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw ComputeError(
      .agent, "start the agent of '\(client.directory.path)': no answer within 2 s",
      hint: "its log is \(client.directory.agentLog)")
  }

  /// The answer to "are you running", or `nil` where the socket is not listened on yet.
  private func answer(_ client: AgentClient) async throws -> AgentResponse? {
    do {
      return try await client.ask(.waitUntilRunning, timeout: configuration.startTimeout)
    } catch let error as ComputeError where error.message.hasPrefix("connect to") {
      return nil
    }
  }

  /// Removes what a dead agent left: processes, mount, socket.
  private func clear(line: String) async throws {
    let directory = directory(line: line)
    guard FileManager.default.fileExists(atPath: directory.path) else { return }
    try await withThread(named: "clear") { try AgentRemains(directory: directory).clear() }
  }

  private func write(_ specification: AgentSpecification) throws {
    let directory = directory(line: specification.line)
    try FileManager.default.createDirectory(
      atPath: directory.path, withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o711])
    let files = SystemFileSystem()
    // Once: the spool's promise hangs on every name above it, and a specification follows them.
    if try files.status(directory.specification, operation: "write compute.json") == nil {
      try files.syncNames(
        from: parentDirectory(of: directory.path), upTo: configuration.dataDirectory,
        "make the line's directory")
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    try files.replaceFile(
      directory.specification, with: [UInt8](encoder.encode(specification)),
      operation: "write compute.json")
  }

  private func launch(line: String, _ secrets: [String: String]) throws {
    let directory = directory(line: line)
    let output = open(directory.agentLog, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard output >= 0 else {
      throw ComputeError(
        .process, "open the agent log '\(directory.agentLog)': \(String(cString: strerror(errno)))")
    }
    defer { close(output) }
    let pid = try spawn(
      ProcessCommand(
        path: configuration.agentProgram, arguments: ["agent", "--directory", directory.path],
        environment: configuration.environment.merging(secrets) { $1 }, output: output,
        errorOutput: output))
    log.info("agent started", metadata: ["line": "\(line)", "pid": "\(pid)"])
    Thread.detachNewThread { [self] in
      let status = reap(pid)
      log.info(
        "agent ended",
        metadata: ["line": "\(line)", "pid": "\(pid)", "how": "\(describe(waitStatus: status))"])
      let wasEnded = ending.withLock { $0.remove(pid) != nil }
      let order = orders.withLock { $0[line] }
      if status != 0, !wasEnded { Task { await self.revive(line: line, after: order) } }
    }
  }

  /// Starts a compute again whose agent died, unless it was ordered to start or stop since then; a start that
  /// fails is left to the next connection.
  private func revive(line: String, after order: Int?) async {
    do {
      let count = accidents.withLock { accidents in
        accidents[line, default: 0] += 1
        return accidents[line] ?? 1
      }
      // At once after the first accident; then ever more slowly, up to a minute.
      if count > 1 { try await Task.sleep(for: .seconds(min(60, 1 << min(count - 1, 6)))) }
      guard let specification = try specification(line: line),
        access(directory(line: line).openedMarker, F_OK) == 0, specification.source == nil
      else { return }
      let revived = try await gate(line).run {
        guard self.orders.withLock({ $0[line] }) == order else { return false }
        _ = try await self.startAlone(specification, [:])
        return true
      }
      guard revived else { return }
      Task {
        try await Task.sleep(for: .seconds(60))
        accidents.withLock { $0[line] = nil }
      }
      log.info("compute is up again", metadata: ["line": "\(line)"])
    } catch {
      log.error(
        "compute did not come up again", metadata: ["line": "\(line)", "error": "\(error)"])
    }
  }
}
