import Capture
import DurableIO
import Foundation
import History
import Logging
import PostgresClient
import PostgresFormat
import Volume
import VolumeMount

/// A standby of the source on a volume of ours: its restartpoints become the line's keyframes.
///
/// ## Purpose
/// Keeps tails short: without it every moment would be opened from the copy that was made at the attaching.
///
/// ## State and invariants
/// 1. It reads the line's own WAL, stored and verified, and never talks to the source.
/// 2. The volume begins anew, at the line's newest complete keyframe, whenever the standby does.
/// 3. A keyframe's consistent LSN is the end of what `pg_wal` holds: nothing beyond it was replayed.
///
/// ## Crash
/// It is made anew; only time is lost. Following does not depend on it.
actor FollowedStandby {
  private let specification: AgentSpecification
  private let directory: LineDirectory
  private let writer: LineWriter
  private let capture: WALCapture
  private let environment: HistoryEnvironment
  private let log: Logger
  /// Takes what ends the standby for good.
  private let onEnd: @Sendable (SourceEnd) async -> Void
  /// Raised as the source's are: a standby whose settings are lower than the server's that wrote the WAL stops.
  private var settings: ServerSettings
  private var running: Running?
  /// Keyframes made since the agent began.
  private(set) var keyframes: UInt64 = 0
  /// Why it does not run; `nil` while all is well.
  private(set) var alarm: String?

  /// How often WAL is brought. The server looks for it every 10 s, and logs a line each time.
  private static let interval = Duration.seconds(5)
  private static let retryPause = Duration.seconds(30)
  /// Rounds in a row without a keyframe that is due, after which the volume is begun anew: its log would grow.
  private static let failingRounds = 60

  /// What is up, in the order in which it goes down.
  private struct Running {
    var keyframes: KeyframeService
    var work: [Task<Void, Never>]
    var server: ServerSession
    var postmaster: Postmaster
    var mount: MountSession
    var volume: Volume
    var feeder: WALFeeder
  }

  init(
    specification: AgentSpecification, directory: LineDirectory, writer: LineWriter,
    capture: WALCapture, environment: HistoryEnvironment, log: Logger,
    onEnd: @escaping @Sendable (SourceEnd) async -> Void
  ) {
    self.onEnd = onEnd
    settings = specification.settings
    self.specification = specification
    self.directory = directory
    self.writer = writer
    self.capture = capture
    self.environment = environment
    self.log = log
  }

  /// Runs until its task is cancelled; what breaks is begun anew after a while.
  func run() async {
    while !Task.isCancelled {
      do {
        let up = try await start()
        running = up
        alarm = nil
        try await tend(up)
      } catch is CancellationError {
        break
      } catch is SettingsRaised {
        log.notice("the standby begins anew with the source's raised settings")
        await stop()
        continue
      } catch let error as SourceEnd {
        alarm = nil
        await stop()
        return await onEnd(error)
      } catch {
        alarm = "keyframes of the followed server: \(error)"
        log.error("the standby of the source ended", metadata: ["error": "\(error)"])
      }
      await stop()
      // Cancelled means that it ends.
      try? await Task.sleep(for: Self.retryPause)
    }
    await stop()
  }

  /// Feeds it and asks for restartpoints, until it ends.
  private func tend(_ up: Running) async throws {
    let policy = CheckpointPolicy(objective: specification.restoreObjective)
    var failing = 0
    while true {
      try await Task.sleep(for: Self.interval)
      if let status = up.postmaster.exitStatus {
        throw ComputeError(
          .process,
          "run the standby: it \(describe(waitStatus: status)): "
            + (up.postmaster.log.fatal ?? up.postmaster.log.recent.last ?? "without a word"))
      }
      try await checkReplay(up)
      try await up.feeder.feed()
      keyframes = await up.keyframes.count
      alarm = await up.keyframes.alarm
      let failure = await up.keyframes.failure
      failing = failure == nil ? 0 : failing + 1
      guard failing < Self.failingRounds else {
        throw ComputeError(.damagedHistory, "make keyframes of the source: \(failure ?? "")")
      }
      let redo = await up.keyframes.redoLSN
      // Without a new checkpoint of the source's the server passes it over.
      if policy.isDue(receivedLSN: up.feeder.fedLSN, redoLSN: redo) {
        try await up.server.checkpoint()
      }
    }
  }

  /// Begins anew where the server has stopped replaying because the source's settings were raised.
  private func checkReplay(_ up: Running) async throws {
    let isPaused: Bool
    do {
      isPaused = try await up.server.run { connection in
        try connection.query("SELECT pg_get_wal_replay_pause_state() = 'paused' AS paused").first?
          .value("paused", as: Bool.self) ?? false
      }
    } catch let error as PostgresError {
      // What is replayed may end sessions; the next round asks again, and a server that ended is noticed elsewhere.
      log.debug("the standby did not answer", metadata: ["error": "\(error)"])
      return
    }
    guard isPaused else { return }
    try await raiseSettings(as: up.volume)
    throw ComputeError(
      .process,
      "replay the source's WAL: the standby has paused, and its settings are not lower than the source's: "
        + (up.postmaster.log.recent.last ?? "without a word"))
  }

  /// The control file says what the source's settings are before the server looks whether its own suffice.
  /// - Throws: ``SettingsRaised`` where ours had to follow.
  private func raiseSettings(as volume: Volume) async throws {
    let major = try postgresMajor(specification.major)
    let found = try await blocking {
      try ImagePreparation(volume: volume, major: major).controlFile().parameters
    }
    try raiseSettings(to: found)
  }

  private func raiseSettings(to found: ParameterChange) throws {
    let former = settings
    settings.raise(to: found, isStandby: true)
    if settings != former { throw SettingsRaised() }
  }

  private struct SettingsRaised: Error {}

  // MARK: Up

  private func start() async throws -> Running {
    let history = try await LineHistory.open(writer.description.id, store: environment.store)
    guard let keyframe = await history.keyframes.last(where: \.isComplete) else {
      throw ComputeError(.damagedHistory, "make a standby: the line has no complete keyframe")
    }
    try await blocking { try self.clear() }
    let (volume, control) = try await openVolume(at: keyframe)
    let feeder = WALFeeder(
      directory: directory, identity: specification.identity, history: history,
      start: keyframe.redoLSN, segmentSize: UInt64(writer.description.segmentSize),
      timeline: keyframe.timeline)
    try await feeder.feed()
    let role = writer.description.bootstrapRole ?? ServerAccess.superuser
    let server = ServerSession(
      directory: directory, segmentSize: UInt64(writer.description.segmentSize), user: role,
      standsAt: { feeder.fedLSN })
    let keyframes = KeyframeService(
      prepared: PreparedCompute(
        volume: volume, writer: writer, expectation: nil, control: control),
      capture: capture, server: server, serverVersion: writer.description.serverVersion,
      policy: KeyframePolicy(completeLayers: specification.completeLayers),
      changesFile: ChangesFile(
        path: directory.changedBlocks, fileSystem: environment.fileSystem),
      epochOffset: await writer.nextVolumeEpoch - 1, log: log)
    let (mount, postmaster) = try await startServer(volume, control)
    keyframes.attach()
    return Running(
      keyframes: keyframes, work: [Task { await keyframes.run() }], server: server,
      postmaster: postmaster, mount: mount, volume: volume, feeder: feeder)
  }

  private nonisolated func clear() throws {
    let files = FileManager.default
    try endProcesses(workingIn: directory.mountPoint)
    for path in [directory.volume, directory.wal, directory.changedBlocks]
    where files.fileExists(atPath: path) {
      try files.removeItem(atPath: path)
    }
    for path in [directory.volume, directory.wal] {
      try files.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    }
    try giveDirectory(directory.wal, to: specification.identity)
    try writeAccess(
      directory, specification: specification, others: [writer.description.bootstrapRole ?? ""])
  }

  /// The volume as the keyframe has it, as a standby starts on it.
  private func openVolume(at keyframe: Keyframe) async throws -> (Volume, ControlFile) {
    let major = try postgresMajor(specification.major)
    return try await environment.threads.run { [directory, environment] in
      let view = try LayerStackView(
        layers: keyframe.groups.layers,
        storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem))
      let volume = try Compute.openVolume(directory, base: BranchBaseView(view), deferred: true)
      var control = try ImagePreparation(volume: volume, major: major).controlFile()
      control.restart(
        checkpoint: keyframe.checkpointLSN, redo: keyframe.redoLSN, timeline: keyframe.timeline)
      try volume.writeFile("global/pg_control", control.bytes)
      try volume.writeFile("standby.signal", [])
      try volume.makeDurable()
      return (volume, control)
    }
  }

  private func startServer(
    _ volume: Volume, _ control: ControlFile
  ) async throws -> (MountSession, Postmaster) {
    settings.raise(to: control.parameters, isStandby: true)
    var settings = settings
    settings.fit(walSegmentSize: control.walSegmentSize)
    settings.extra.merge(Self.settings) { $1 }
    do {
      return try await launchServer(volume, settings)
    } catch let failure as StartFailure {
      try raiseSettings(to: failure.parameters)
      throw failure.cause
    }
  }

  /// The server did not come up.
  private struct StartFailure: Error {
    var cause: any Error
    /// The source's settings, as far as it replayed.
    var parameters: ParameterChange
  }

  private func launchServer(
    _ volume: Volume, _ settings: ServerSettings
  ) async throws -> (MountSession, Postmaster) {
    let major = try postgresMajor(specification.major)
    return try await blocking { [directory, specification, log] in
      let mount = try MountSession.mount(
        volume, at: directory.mountPoint,
        options: MountOptions(
          ownerUID: specification.identity.uid, ownerGID: specification.identity.gid, logger: log))
      do {
        let postmaster = try Postmaster(
          installation: PostgresInstallation(
            major: specification.major, binaries: specification.binaries),
          directory: directory, identity: specification.identity, settings: settings,
          recovering: true, withoutApplyWorkers: true, onExit: { _ in })
        try postmaster.waitUntilReady(seconds: 600)
        return (mount, postmaster)
      } catch {
        try endProcesses(workingIn: directory.mountPoint)
        let found = try ImagePreparation(volume: volume, major: major).controlFile().parameters
        _ = try mount.unmount()
        try volume.close()
        throw StartFailure(cause: error, parameters: found)
      }
    }
  }

  private static let settings = [
    "hot_standby": "on", "wal_retrieve_retry_interval": "10s", "autovacuum": "off",
    "wal_recycle": "off", "max_standby_streaming_delay": "0", "max_standby_archive_delay": "0",
  ]

  // MARK: Down

  private func stop() async {
    guard let up = running else { return }
    running = nil
    await up.keyframes.end()
    for task in up.work { await task.value }
    await up.server.close()
    do {
      try await blocking { [directory] in
        up.postmaster.signal(SIGQUIT)
        _ = up.postmaster.waitForExit(seconds: 30)
        try endProcesses(workingIn: directory.mountPoint)
        _ = try up.mount.unmount()
        try up.volume.close()
      }
    } catch {
      log.error("the standby did not go down cleanly", metadata: ["error": "\(error)"])
    }
  }
}
