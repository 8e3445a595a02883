import Capture
import DurableIO
import Foundation
import History
import ObjectStorage
import PostgresClient
import PostgresFormat
import Volume
import VolumeMount

extension Agent {
  /// Brings the compute up; on return it accepts connections.
  func start() async throws {
    try await blocking { [directory, specification] in
      try layOut(directory, specification: specification)
    }
    steps.mark("directory")
    let environment = try historyEnvironment()
    let prepared = try await prepare(environment)
    self.prepared = prepared
    try await admitBootstrap(prepared.writer.description.bootstrapRole)
    status.startLSN = prepared.expectation?.target
    if prepared.expectation != nil { status.opening = prepared.lazy == nil ? .replay : .lazy }
    status.replayReason = prepared.replayReason
    steps.mark("prepare")
    mount = try await mount(
      prepared.volume,
      cachingWrites: prepared.control.hasDataChecksums
        && specification.cachesWrites ?? AgentSpecification.cachesWritesByDefault)
    steps.mark("mount")
    let server = ServerSession(
      directory: directory, segmentSize: prepared.control.walSegmentSize)
    let capture = try await openCapture(prepared, environment)
    let keyframes = KeyframeService(
      prepared: prepared, capture: capture, server: server,
      serverVersion: specification.serverVersion,
      policy: KeyframePolicy(completeLayers: specification.completeLayers),
      changesFile: ChangesFile(
        path: directory.changedBlocks, fileSystem: environment.fileSystem),
      handOver: { [weak self] in try await self?.handOverWrites() }, log: log)
    (self.server, self.capture, self.keyframes) = (server, capture, keyframes)
    keyframes.attach()
    try await blocking { [directory] in try DrainedMarker(directory).clear() }
    try await bringUp(prepared)
    await keyframes.noteServer(version: try await server.version())
    capture.start()
    try await waitForStream(capture, server)
    watch(capture)
    steps.mark("capture")
    startBackground(prepared, capture, keyframes, server)
    startDeparture(prepared, keyframes, server, environment)
  }

  /// Starts the server and proves the moment; a page that could not be made is named.
  private func bringUp(_ prepared: PreparedCompute) async throws {
    do {
      try await startServer(recovering: prepared.expectation != nil)
      steps.mark("server")
      prepared.warmed?.cool()
      guard let expectation = prepared.expectation else { return }
      try await prove(expectation, prepared)
      steps.mark("proof")
    } catch {
      guard let why = prepared.lazy?.failure else { throw error }
      let text = "\((error as? ComputeError)?.message ?? "\(error)"): \(why)"
      // A store that is away, workers that are lost and a full disk say nothing of the history: it is tried again.
      guard PagesNotMade.isOfHistory(why) else {
        throw ComputeError(.process, text, hint: "try again; 'exzo doctor' looks at this machine")
      }
      throw ComputeError(
        .damagedHistory, text, hint: "run 'exzo verify'; a moment before the damage opens")
    }
  }

  /// No client before the stream runs: only then does a slot keep the WAL that is not stored yet.
  private func waitForStream(_ capture: WALCapture, _ server: ServerSession) async throws {
    let flushed = try await server.flushLSN()
    _ = try await capture.waitReceived(flushed, timeout: .seconds(30))
    guard specification.settings.waitsForObjectStore else { return }
    // What clients can read from now on is stored: a commit that nobody had heard of included.
    _ = try await capture.flush(to: flushed, timeout: .seconds(600))
  }

  /// Keyframes, checkpoints, merging of chunks, and pages made ahead of reads.
  private func startBackground(
    _ prepared: PreparedCompute, _ capture: WALCapture, _ keyframes: KeyframeService,
    _ server: ServerSession
  ) {
    let scheduler = CheckpointScheduler(
      policy: CheckpointPolicy(objective: specification.restoreObjective), capture: capture,
      keyframes: keyframes, server: server, log: log)
    let merging = ChunkMerging(writer: prepared.writer, log: log)
    background = [
      Task { await keyframes.run() }, Task { await scheduler.run() }, Task { await merging.run() },
    ]
    if let lazy = prepared.lazy { makePagesAhead(lazy) }
  }

  /// Logs what capture tells, and ends a compute whose line another installation has taken over.
  private func watch(_ capture: WALCapture) {
    Task { [log] in
      for await event in capture.events {
        guard case .failed(let error) = event else {
          log.debug("capture", metadata: ["event": "\(event)"])
          continue
        }
        log.critical("capture has stopped for good", metadata: ["error": "\(error)"])
        guard error.code == .lineRefused else { continue }
        fail(error)
        postmaster?.signal(SIGQUIT)
      }
    }
  }

  private func prepare(_ environment: HistoryEnvironment) async throws -> PreparedCompute {
    let opened = access(directory.openedMarker, F_OK) == 0
    if case .branch(let parent, let lsn) = specification.origin, !opened {
      return try await MomentOpening(
        specification: specification, directory: directory, environment: environment,
        parent: LineID(rawValue: parent), target: lsn, log: log
      ).prepare()
    }
    return try await VolumeResumption(
      specification: specification, directory: directory, environment: environment
    ).prepare()
  }

  func historyEnvironment() throws -> HistoryEnvironment {
    let fileSystem = SystemFileSystem()
    return HistoryEnvironment(
      store: try openObjectStore(
        specification.objectStore, fileSystem: fileSystem, project: specification.projectID),
      fileSystem: fileSystem, threads: BlockingThreads(count: 4),
      spoolDirectory: directory.scratch)
  }

  private func openCapture(
    _ prepared: PreparedCompute, _ environment: HistoryEnvironment
  ) async throws -> WALCapture {
    var configuration = CaptureConfiguration(
      connection: ServerAccess.parameters(directory),
      line: prepared.writer, store: environment.store, spoolDirectory: directory.spool,
      major: try postgresMajor(specification.major),
      durability: specification.settings.waitsForObjectStore ? .objectStore : .local)
    configuration.walDirectory = directory.wal
    return try await WALCapture.open(configuration)
  }

  /// Starts the server and waits until it accepts connections.
  func startServer(recovering: Bool) async throws {
    let bell = serverEndsBell
    var settings = specification.settings
    if let control = prepared?.control ?? reading?.control,
      let former = prepared?.parameters ?? reading?.parameters
    {
      settings.raise(to: former, isStandby: specification.isReading)
      settings.fit(walSegmentSize: control.walSegmentSize)
    }
    if specification.isReading { settings.extra.merge(readingSettings) { $1 } }
    // The agent starts it again, after what a killed process left half written is gone.
    if mount?.cachesWrites == true { settings.extra["restart_after_crash"] = "off" }
    // The parent's subscriptions are disabled before any of their workers starts.
    let withoutApplyWorkers = recovering && prepared?.mayHoldSubscriptions ?? true
    let limit = try await limitation()
    postmaster = try await blocking { [directory, specification, settings] in
      try endProcesses(workingIn: directory.mountPoint)
      let postmaster = try Postmaster(
        installation: PostgresInstallation(
          major: specification.major, binaries: specification.binaries),
        directory: directory, identity: specification.identity, settings: settings,
        recovering: recovering, withoutApplyWorkers: withoutApplyWorkers,
        onStart: limit, onExit: { bell.yield($0) })
      // Crash recovery of a large tail takes its time; a server that makes no progress ends itself.
      try postmaster.waitUntilReady(seconds: 600)
      return postmaster
    }
  }

  /// For a moment whose roles may still be those of a server elsewhere.
  private var adoption: ClusterAdoption? {
    prepared?.writer.description.bootstrapRole.map {
      ClusterAdoption(directory: directory, formerName: $0, roles: specification.roles ?? [])
    }
  }

  /// Lets our processes in under the names that roles of a server elsewhere still have.
  func admitBootstrap(_ role: String?) async throws {
    guard let role else { return }
    try await blocking { [directory, specification] in
      try writeAccess(
        directory, specification: specification, others: [role, ClusterAdoption.helper])
    }
  }

  /// Checks that the server stands at the moment, brings its roles to today, makes all of it
  /// durable.
  private func prove(_ expectation: RecoveryExpectation, _ prepared: PreparedCompute) async throws {
    guard let postmaster, let server else { return }
    let control = try await blocking {
      try ImagePreparation(volume: prepared.volume, major: prepared.control.major).controlFile()
    }
    try expectation.check(log: postmaster.log, control: control)
    if let adoption { try await blocking { try adoption.run() } }
    if let roles = specification.roles {
      try await server.run { try TodaysRoles(roles: roles).install($0) }
    }
    for database in try await server.run({ try TodaysRoles.subscriptionDatabases($0) }) {
      try await blocking { [directory] in
        let connection = try PostgresConnection(
          ServerAccess.parameters(directory, database: database))
        defer { connection.close() }
        try TodaysRoles.disableSubscriptions(connection)
      }
    }
    try await blocking { [directory] in
      try prepared.volume.makeDurable()
      try syncDirectoryTree(directory.wal)
      try markOpened(directory)
    }
  }
}

/// Makes the directories of a line and the files that say who may log in. What an unfinished
/// opening left
/// behind is removed first.
func layOut(_ directory: LineDirectory, specification: AgentSpecification) throws {
  let files = FileManager.default
  if case .branch = specification.origin, access(directory.openedMarker, F_OK) != 0 {
    for path in [
      directory.volume, directory.wal, directory.spool, directory.scratch, directory.changedBlocks,
    ] where files.fileExists(atPath: path) { try files.removeItem(atPath: path) }
  }
  for path in [
    directory.volume, directory.mountPoint, directory.wal, directory.spool, directory.run,
    directory.scratch,
  ] {
    try files.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
  }
  try removeSpooledLayers(directory)
  try writeAccess(directory, specification: specification)
  try giveDirectory(directory.wal, to: specification.identity)
}

/// Layers and chunks that an agent was making when it ended: nobody goes on with them.
func removeSpooledLayers(_ directory: LineDirectory) throws {
  let files = FileManager.default
  for name in try files.contentsOfDirectory(atPath: directory.scratch)
  where name.hasPrefix("layer-") || name.hasPrefix("merged-") {
    try files.removeItem(atPath: "\(directory.scratch)/\(name)")
  }
}

/// Writes who may log in to a compute.
/// - Parameter others: further roles that our own processes take.
func writeAccess(
  _ directory: LineDirectory, specification: AgentSpecification, others: [String] = []
) throws {
  let user = try ServerAccess.currentUserName()
  try Data(
    ServerAccess.hostBasedAuthentication(
      trustsTenants: specification.isReading, others: others
    ).utf8
  ).write(to: URL(fileURLWithPath: directory.hostBasedAuthentication))
  try Data(ServerAccess.identMap(ourUser: user, others: others).utf8)
    .write(to: URL(fileURLWithPath: directory.identMap))
  try giveDirectory(directory.run, to: specification.identity)
}

private func markOpened(_ directory: LineDirectory) throws {
  let fileSystem = SystemFileSystem()
  let file = try fileSystem.open(
    directory.openedMarker, .createReadWrite, operation: "mark line opened")
  try file.sync(operation: "mark line opened")
  try fileSystem.syncDirectory(directory.path, operation: "mark line opened")
}

/// Syncs every file of a directory, and the directory.
private func syncDirectoryTree(_ path: String) throws {
  let fileSystem = SystemFileSystem()
  for name in try fileSystem.list(path, operation: "sync pg_wal") {
    guard
      let status = try fileSystem.status("\(path)/\(name)", operation: "sync pg_wal"),
      !status.isDirectory
    else { continue }
    try fileSystem.open("\(path)/\(name)", .readWrite, operation: "sync pg_wal")
      .sync(operation: "sync pg_wal")
  }
  try fileSystem.syncDirectory(path, operation: "sync pg_wal")
}

extension ServerSettings {
  /// Makes room for two segments of WAL, without which a server does not start (`guc.c`); 16 MB have it.
  mutating func fit(walSegmentSize: UInt64) {
    let megabytes = Int(walSegmentSize >> 20)
    guard megabytes > 40 else { return }
    extra["min_wal_size"] = "\(2 * megabytes)MB"
    maxWALSize = max(maxWALSize, 2 * megabytes)
  }

  /// Raises what may not lie below the former server's settings.
  ///
  /// A server that goes on after a crash may allow fewer connections than before, but the locks of prepared
  /// transactions need the room that they had; one that stays in recovery takes WAL of all the connections there
  /// were (`CheckRequiredParameterValues` in `xlogrecovery.c`).
  mutating func raise(to former: ParameterChange, isStandby: Bool) {
    maxPreparedTransactions = max(maxPreparedTransactions, Int(former.maxPreparedTransactions))
    maxLocksPerTransaction = max(maxLocksPerTransaction, Int(former.maxLocksPerTransaction))
    if isStandby {
      maxConnections = max(maxConnections, Int(former.maxConnections))
    } else if maxPreparedTransactions > 0, maxConnections < Int(former.maxConnections) {
      let holders = maxPreparedTransactions + Int(former.maxConnections)
      let own = maxPreparedTransactions + maxConnections
      maxLocksPerTransaction = (maxLocksPerTransaction * holders + own - 1) / own
    }
    maxWorkerProcesses = max(maxWorkerProcesses, Int(former.maxWorkerProcesses))
    maxWALSenders = max(maxWALSenders ?? 10, Int(former.maxWALSenders))
  }
}
