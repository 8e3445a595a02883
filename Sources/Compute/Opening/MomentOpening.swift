import DurableIO
import Foundation
import History
import Logging
import ObjectStorage
import PostgresFormat
import Volume

/// Makes a moment of a line into a new line with a volume and a `pg_wal` that a server can start
/// on.
///
/// Purpose: steps 1 to 3 of opening (ARCHITECTURE.md). Crash: nothing here is final; an opening
/// that died is
/// begun anew in an emptied directory.
struct MomentOpening: Sendable {
  let specification: AgentSpecification
  let directory: LineDirectory
  let environment: HistoryEnvironment
  let parent: LineID
  let target: LSN
  let log: Logger

  /// Finds the moment, creates the line, lays out volume and WAL.
  func prepare() async throws -> PreparedCompute {
    let history = try await LineHistory.open(parent, store: environment.store)
    let (writer, plan) = try await createLine(history)
    guard let origin = await writer.description.parent else {
      throw ComputeError(.damagedHistory, "open line '\(specification.line)': it has no parent")
    }
    let major = try postgresMajor(specification.major)
    let view = try await environment.threads.run { [environment] in
      try LayerStackView(
        layers: origin.baseLayers,
        storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem))
    }
    let warmed = WarmedBaseView(view)
    let image = BranchBaseView(warmed)
    async let tail = writeTail(history, plan, image.tree, major: major)
    let (volume, control) = try await environment.threads.run { [directory] in
      let volume = try openVolume(directory, base: image, deferred: true)
      let preparation = ImagePreparation(volume: volume, major: major)
      return (
        volume, try preparation.patchControlFile(systemIdentifier: plan.systemIdentifier)
      )
    }
    let summary = try await tail
    warm(warmed, summary.wanted)
    return PreparedCompute(
      volume: volume, writer: writer,
      expectation: RecoveryExpectation(
        target: plan.lsn, lastRecordStart: summary.lastRecordStart, segmentSize: plan.segmentSize),
      control: control, warmed: warmed)
  }

  /// Reads ahead while the server starts. A failure shows when the server reads the block itself.
  func warm(_ view: WarmedBaseView, _ blocks: [BlockAddress]) {
    Thread.detachNewThread { [log] in
      do {
        try view.warm(blocks)
      } catch {
        log.warning("reading ahead failed", metadata: ["error": "\(error)"])
      }
    }
  }

  // MARK: The line

  /// What an opening decided; kept, so that one that died is begun anew with the same line.
  struct Plan: Codable {
    var lsn: LSN
    var redoLSN: LSN
    var timeline: TimelineID
    var systemIdentifier: UInt64
    var segmentSize: UInt64
  }

  private var planFile: String { "\(directory.path)/opening.json" }

  private func createLine(_ history: LineHistory) async throws -> (LineWriter, Plan) {
    let line = LineID(rawValue: specification.line)
    if let bytes = FileManager.default.contents(atPath: planFile) {
      do {
        let plan = try JSONDecoder().decode(Plan.self, from: bytes)
        return (try await LineWriter.resume(line, environment: environment), plan)
      } catch let error as HistoryError where error.code == .unknownLine {
        // The former attempt died before the line was there.
      }
    }
    let moment = try await history.seek(.lsn(target), now: environment.now())
    let origin = await history.description
    let plan = Plan(
      lsn: moment.lsn, redoLSN: moment.keyframe.redoLSN, timeline: moment.keyframe.timeline,
      systemIdentifier: makeSystemIdentifier(), segmentSize: UInt64(origin.segmentSize))
    try environment.fileSystem.replaceFile(
      planFile, with: [UInt8](JSONEncoder().encode(plan)), operation: "write opening.json")
    let writer = try await LineWriter.create(
      LineDescription(
        id: line, project: specification.projectID,
        parent: LineOrigin(
          line: parent, branchLSN: moment.lsn, baseLayers: moment.keyframe.layers),
        startLSN: moment.lsn, timeline: plan.timeline, systemIdentifier: plan.systemIdentifier,
        major: origin.major, serverVersion: specification.serverVersion,
        segmentSize: origin.segmentSize, createdAt: environment.now()),
      environment: environment)
    return (writer, plan)
  }

  /// Writes and checks the WAL from the redo LSN's segment to the moment.
  func writeTail(
    _ history: LineHistory, _ plan: Plan, _ image: FileTreeSnapshot, major: PostgresMajor
  ) async throws -> TailCheck.Summary {
    let (redo, segmentSize) = (plan.redoLSN, plan.segmentSize)
    let start = LSN(redo.rawValue / segmentSize * segmentSize)
    var writer = TailWriter(
      directory: directory.wal, timeline: plan.timeline, segmentSize: segmentSize,
      systemIdentifier: plan.systemIdentifier, startLSN: start, fileSystem: environment.fileSystem)
    var check = TailCheck(format: major, redo: redo, segmentSize: segmentSize, image: image)
    for try await run in history.readWAL(from: start, to: plan.lsn) {
      (writer, check) = try await environment.threads.run { [writer, check] in
        var (writer, check) = (writer, check)
        try run.bytes.withUnsafeBytes { bytes in
          try check.append(bytes, at: run.startLSN)
          try writer.append(bytes, at: run.startLSN)
        }
        return (writer, check)
      }
    }
    return try await environment.threads.run { [writer, check, identity = specification.identity] in
      var writer = writer
      _ = try writer.finish(durable: false)
      try giveDirectory(directory.wal, to: identity)
      return try check.finish(target: plan.lsn)
    }
  }

  /// As `initdb` makes them: seconds above, chance below.
  func makeSystemIdentifier() -> UInt64 {
    let seconds = UInt64(Date().timeIntervalSince1970)
    return seconds << 32 | (environment.random() & 0xFFFF_FFFF)
  }
}

/// Opens the volume in a line's directory.
/// - Parameter deferred: `fsync` is answered at once until the volume is made durable.
func openVolume(
  _ directory: LineDirectory, base: any BaseView, deferred: Bool
) throws -> Volume {
  var configuration = VolumeConfiguration(
    directory: directory.volume, classification: fileClass(path:kind:))
  configuration.syncMode = deferred ? .deferred : .normal
  return try Volume.open(configuration, base: base)
}

func postgresMajor(_ number: Int) throws -> PostgresMajor {
  guard let major = PostgresMajor(rawValue: number) else {
    throw ComputeError(
      .serverMissing, "use PostgreSQL \(number): its formats are not known",
      hint: "known are \(PostgresMajor.allCases.map { "\($0.rawValue)" }.joined(separator: ", "))")
  }
  return major
}

/// Gives a directory and the files in it to a compute's user, closed to all others.
func giveDirectory(_ path: String, to identity: ProcessIdentity) throws {
  for name in try FileManager.default.contentsOfDirectory(atPath: path) {
    // Never through a link: the directory may have been the server's before.
    lchown("\(path)/\(name)", identity.uid, identity.gid)
  }
  guard chown(path, identity.uid, identity.gid) == 0, chmod(path, 0o700) == 0 else {
    throw ComputeError(
      .environment, "give '\(path)' to user \(identity.uid): \(String(cString: strerror(errno)))")
  }
}
