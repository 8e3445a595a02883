import DurableIO
import Foundation
import History
import ObjectStorage
import PostgresFormat
import Volume

/// Makes a moment of a line into a new line with a volume and a `pg_wal` that a server can start on.
///
/// Purpose: steps 1 to 3 of opening (ARCHITECTURE.md). Crash: nothing here is final; an opening that died is
/// begun anew in an emptied directory.
struct MomentOpening: Sendable {
  let specification: AgentSpecification
  let directory: LineDirectory
  let environment: HistoryEnvironment
  let parent: LineID
  let target: LSN

  /// Finds the moment, creates the line, lays out volume and WAL.
  func prepare() async throws -> PreparedCompute {
    let history = try await LineHistory.open(parent, store: environment.store)
    let moment = try await history.seek(.lsn(target), now: environment.now())
    let origin = await history.description
    let major = try postgresMajor(specification.major)
    let systemIdentifier = makeSystemIdentifier()
    let segmentSize = UInt64(origin.segmentSize)
    let view = try await environment.threads.run { [environment] in
      try LayerStackView(
        layers: moment.keyframe.layers,
        storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem))
    }
    let image = BranchBaseView(view)
    async let writer = LineWriter.create(
      description(origin, moment, systemIdentifier), environment: environment)
    async let tail = writeTail(
      history, moment, image.tree, major: major, segmentSize: segmentSize,
      systemIdentifier: systemIdentifier)
    let (volume, control) = try await environment.threads.run {
      [directory] in
      let volume = try openVolume(directory, base: image, deferred: true)
      let preparation = ImagePreparation(volume: volume, major: major)
      return (volume, try preparation.patchControlFile(systemIdentifier: systemIdentifier))
    }
    let summary = try await tail
    return PreparedCompute(
      volume: volume, writer: try await writer,
      expectation: RecoveryExpectation(
        target: moment.lsn, lastRecordStart: summary.lastRecordStart, segmentSize: segmentSize),
      control: control)
  }

  private func description(
    _ origin: LineDescription, _ moment: Moment, _ systemIdentifier: UInt64
  ) -> LineDescription {
    LineDescription(
      id: LineID(rawValue: specification.line), project: specification.projectID,
      parent: LineOrigin(
        line: parent, branchLSN: moment.lsn, baseLayers: moment.keyframe.layers),
      startLSN: moment.lsn, timeline: moment.keyframe.timeline, systemIdentifier: systemIdentifier,
      major: origin.major, serverVersion: specification.serverVersion,
      segmentSize: origin.segmentSize, createdAt: environment.now())
  }

  /// Writes and checks the WAL from the redo LSN's segment to the moment.
  private func writeTail(
    _ history: LineHistory, _ moment: Moment, _ image: FileTreeSnapshot, major: PostgresMajor,
    segmentSize: UInt64, systemIdentifier: UInt64
  ) async throws -> TailCheck.Summary {
    let redo = moment.keyframe.redoLSN
    let start = LSN(redo.rawValue / segmentSize * segmentSize)
    var writer = TailWriter(
      directory: directory.wal, timeline: moment.keyframe.timeline, segmentSize: segmentSize,
      systemIdentifier: systemIdentifier, startLSN: start, fileSystem: environment.fileSystem)
    var check = TailCheck(format: major, redo: redo, segmentSize: segmentSize, image: image)
    for try await run in history.readWAL(from: start, to: moment.lsn) {
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
      return try check.finish(target: moment.lsn)
    }
  }

  /// As `initdb` makes them: seconds above, chance below.
  private func makeSystemIdentifier() -> UInt64 {
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
    chown("\(path)/\(name)", identity.uid, identity.gid)
  }
  guard chown(path, identity.uid, identity.gid) == 0, chmod(path, 0o700) == 0 else {
    throw ComputeError(
      .environment, "give '\(path)' to user \(identity.uid): \(String(cString: strerror(errno)))")
  }
}
