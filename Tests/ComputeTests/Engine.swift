import DurableIO
import Foundation
import History
import Logging
import ObjectStorage
import PostgresFormat
import TestSupport

@testable import Compute

/// A data directory with a template, a store and a fleet, as serve would have it.
struct Engine {
  let directory: String
  let fleet: AgentFleet
  let template: TemplateBuilder.Template
  let installation: PostgresInstallation
  let store: any ObjectStore

  var storeURL: String { "file://\(directory)/objects" }

  /// The `exzo` program that the tests were built with.
  static var program: String {
    if let named = ProcessInfo.processInfo.environment["EXZO_BINARY"] { return named }
    // Products lie beside the test bundle's executable.
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    return tests.deletingLastPathComponent().appendingPathComponent("exzo").path
  }

  init(in directory: String) async throws {
    self.directory = directory
    chmod(directory, 0o711)
    installation = try PostgresInstallation.find(major: 15, environment: [:])
    let fileSystem = SystemFileSystem()
    store = try openObjectStore("file://\(directory)/objects", fileSystem: fileSystem)
    template = try await TemplateBuilder(
      dataDirectory: directory, installation: installation,
      environment: HistoryEnvironment(
        store: store, fileSystem: fileSystem, threads: BlockingThreads(count: 2),
        spoolDirectory: directory), log: Logger(label: "template")
    ).template()
    fleet = AgentFleet(
      configuration: .init(
        dataDirectory: directory, agentProgram: Engine.program,
        environment: ["PATH": "/usr/bin:/bin"]),
      log: Logger(label: "fleet"))
  }

  func specification(
    line: String, parent: String, lsn: LSN, roles: [RoleCredential]? = nil
  ) -> AgentSpecification {
    AgentSpecification(
      computeID: line, projectID: "test-project-00000001", line: line, major: 15,
      binaries: installation.binaries, serverVersion: template.serverVersion,
      identity: getuid() == 0 ? ProcessIdentity(uid: 250_001, gid: 250_001) : .current,
      objectStore: storeURL, origin: .branch(parent: parent, lsn: lsn),
      settings: ServerSettings(), roles: roles, restoreObjective: 0.4)
  }

  /// Opens a moment as a new line and returns that once it accepts connections.
  func open(
    _ parent: String, at lsn: LSN, _ change: (inout AgentSpecification) -> Void = { _ in }
  ) async throws -> (line: String, status: AgentStatus) {
    let line = LineID { UInt64.random(in: 0 ... .max) }.rawValue
    var specification = specification(line: line, parent: parent, lsn: lsn)
    change(&specification)
    return (line, try await fleet.start(specification))
  }

  /// A project's first line.
  func openRoot(_ settings: ServerSettings = ServerSettings()) async throws -> String {
    try await openRoot { $0.settings = settings }
  }

  func openRoot(_ change: (inout AgentSpecification) -> Void) async throws -> String {
    try await open(template.line, at: template.lsn, change).line
  }

  /// The line's server, asked as the platform's superuser.
  func connection(_ line: String) -> ServerConnection {
    ServerConnection(
      host: fleet.directory(line: line).run, user: ServerAccess.superuser, database: "exzodb")
  }

  /// Writes the WAL of a range into segment files that `pg_waldump` reads, and returns their
  /// directory.
  func exportWAL(of line: String, from: LSN, to: LSN) async throws -> String {
    let path = "\(directory)/wal-\(line)-\(to.rawValue)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let history = try await LineHistory.open(LineID(rawValue: line), store: store)
    let size = WALSegment.defaultSize
    let start = LSN(from.rawValue / size * size)
    var writer = TailWriter(
      directory: path, timeline: TimelineID(1), segmentSize: size, systemIdentifier: 1,
      startLSN: start, fileSystem: SystemFileSystem())
    for try await run in history.readWAL(from: start, to: to) {
      try run.bytes.withUnsafeBytes { try writer.append($0, at: run.startLSN) }
    }
    _ = try writer.finish(durable: false)
    return path
  }

  /// Runs SQL as the platform's superuser.
  @discardableResult
  func psql(_ line: String, _ sql: String, database: String = "exzodb") throws -> String {
    try run(
      [
        "\(installation.binaries)/psql", "-AtXq", "-v", "ON_ERROR_STOP=1", "-h",
        fleet.directory(line: line).run, "-U", ServerAccess.superuser, "-d", database,
      ], input: sql
    ).output.trimmingCharacters(in: .newlines)
  }

  @discardableResult
  func pgbench(_ line: String, _ options: [String]) throws -> String {
    try run(
      [
        "\(installation.binaries)/pgbench", "-h", fleet.directory(line: line).run, "-U",
        ServerAccess.superuser,
      ] + options + ["exzodb"]
    ).output
  }
}

/// An engine that is taken down with all its agents, also where the body throws.
func withEngine<Result>(_ body: (Engine) async throws -> Result) async throws -> Result {
  try await withTemporaryDirectory { directory in
    let engine = try await Engine(in: directory)
    do {
      let result = try await body(engine)
      try await engine.fleet.suspendAll()
      return result
    } catch {
      for line in engine.fleet.lines() {
        for name in ["agent.log", "postgres.log"] {
          let path = engine.fleet.directory(line: line).path + "/" + name
          let text = String(
            decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
          print("== \(line) \(name)\n\(text.suffix(3000))")
        }
        await engine.end(line)
      }
      throw error
    }
  }
}

extension Engine {
  /// Ends a line's agent by force and clears its mount; for clean-up after a failure.
  func end(_ line: String) async {
    if let status = await fleet.client(line: line).status() { kill(status.agentPID, SIGKILL) }
    let directory = fleet.directory(line: line)
    try? endProcesses(workingIn: directory.mountPoint)  // the first error is the one to report
    umount2(directory.mountPoint, Int32(MNT_DETACH))
  }
}
