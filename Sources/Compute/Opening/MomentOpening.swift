import DurableIO
import Foundation
import History
import Logging
import ObjectStorage
import PageRedo
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
    var steps = StepClock()
    let history = try await LineHistory.open(parent, store: environment.store)
    steps.mark("history")
    if let (writer, plan) = try await unfinished() {
      return plan.isLazy
        ? try await resumeLazily(history, writer, plan) : try await replay(history, writer, plan)
    }
    let moment = try await history.seek(.lsn(target), now: environment.now())
    let major = try postgresMajor(specification.major)
    var reason = await moment.replayReason(history, major: major, wanted: specification.opening)
    steps.mark("seek")
    if reason == nil {
      do {
        switch try await openLazily(history, moment, &steps) {
        case .prepared(let prepared): return prepared
        case .replay(let fallback): reason = .fallback(fallback.reason.rawValue)
        }
      } catch let error as PageRedoError {
        reason = noted(error)
      }
    }
    if specification.opening == .lazy, let reason {
      throw ComputeError(
        .environment,
        "open the moment \(moment.lsn) without replay, as asked for: \(reason.name)",
        hint: "leave 'opening' out of the specification: then the server replays the tail")
    }
    let (writer, plan) = try await planReplay(history, moment, reason)
    var prepared = try await replay(history, writer, plan)
    prepared.replayReason = reason?.name
    // Nobody has ever connected to a template.
    let isTemplate = await history.description.project == TemplateBuilder.project
    prepared.mayHoldSubscriptions = !isTemplate
    return prepared
  }

  // MARK: Pages made when they are read

  private enum LazyOutcome {
    case prepared(PreparedCompute)
    case replay(TailRewriter.Fallback)
  }

  private func openLazily(
    _ history: LineHistory, _ moment: Moment, _ steps: inout StepClock
  ) async throws -> LazyOutcome {
    let pool = try await pages.pool()
    do {
      let outcome = try await openLazily(history, moment, pool, &steps)
      if case .replay = outcome { pool.discard() }
      return outcome
    } catch {
      pool.discard()
      throw error
    }
  }

  /// Redo that cannot be had is no obstacle: the server replays the tail.
  func noted(_ error: PageRedoError) -> ReplayReason {
    log.error("redo workers do not start", metadata: ["error": "\(error)"])
    return .fallback(error.code.rawValue)
  }

  /// Where a first worker has failed to start by then, nothing is made that replay could not use.
  func requireWorkers(_ pool: RedoPool) async throws {
    let failure = try await environment.threads.run {
      pool.startFailure(within: MomentOpening.startPatience)
    }
    if let failure { throw failure }
  }

  private static let startPatience = 0.25

  private func openLazily(
    _ history: LineHistory, _ moment: Moment, _ pool: RedoPool, _ steps: inout StepClock
  ) async throws -> LazyOutcome {
    let plan = await makePlan(history, moment, from: moment.keyframe, isLazy: true)
    let image = try await pages.image(moment.keyframe.image)
    steps.mark("image")
    let summary: RewrittenTail.Summary
    switch try await rewriteTail(history, plan, withoutWhatStays(image.tree)) {
    case .replay(let fallback): return .replay(fallback)
    case .lazy(let found): summary = found
    }
    steps.mark("tail")
    try await requireWorkers(pool)
    steps.mark("workers")
    let origin = LineOrigin(
      line: parent, branchLSN: plan.lsn, base: moment.keyframe.image, tree: summary.moment.tree)
    // The line becomes durable while its volume is laid out; nothing starts before both are there.
    async let writer = createLine(plan, origin, history)
    let laid = try await lay(history, image, plan, origin, summary, pool)
    steps.mark("volume")
    do {
      let prepared = laid.prepared(try await writer)
      steps.mark("line")
      log.info(
        "prepared without replay",
        metadata: ["tail": "\(plan.lsn - plan.redoLSN)", "steps": "\(steps.summary)"])
      return .prepared(prepared)
    } catch {
      laid.close()
      throw error
    }
  }

  private func resumeLazily(
    _ history: LineHistory, _ writer: LineWriter, _ plan: OpeningPlan
  ) async throws -> PreparedCompute {
    guard let origin = writer.description.parent, origin.isLazy else {
      throw ComputeError(.damagedHistory, "open line '\(specification.line)': it has no parent")
    }
    let image = try await pages.image(origin.base)
    guard
      case .lazy(let summary) = try await rewriteTail(history, plan, withoutWhatStays(image.tree))
    else {
      throw ComputeError(
        .damagedHistory, "open line '\(specification.line)': its tail changed since it was begun")
    }
    let pool = try await pages.pool()
    return try await lay(history, image, plan, origin, summary, pool).prepared(writer)
  }

  /// A volume over pages that are made when they are read, without its line.
  private struct LaidOut: Sendable {
    var volume: Volume
    var control: ControlFile
    var view: LazyBaseView
    var base: MovingBaseView
    var expectation: RecoveryExpectation
    var parameters: ParameterChange?

    func prepared(_ writer: LineWriter) -> PreparedCompute {
      PreparedCompute(
        volume: volume, writer: writer, base: base, expectation: expectation, control: control,
        tailParameters: parameters,
        mayHoldSubscriptions: Compute.mayHoldSubscriptions(view.tree), lazy: view)
    }

    /// For an opening that failed; its own error is the one to report.
    func close() {
      view.close()
      try? volume.close()
    }
  }

  /// The volume over a view that makes pages, and what must be true of the server on it.
  private func lay(
    _ history: LineHistory, _ image: GroupedImage, _ plan: OpeningPlan, _ origin: LineOrigin,
    _ summary: RewrittenTail.Summary, _ pool: RedoPool
  ) async throws -> LaidOut {
    let view = try await pages.view(
      history, image: image, moment: plan.lsn, tree: origin.tree ?? summary.moment.tree, pool: pool)
    let base = MovingBaseView(view)
    let (volume, control): (Volume, ControlFile)
    do {
      (volume, control) = try await openVolume(on: base, plan)
    } catch {
      view.discard()
      throw error
    }
    return LaidOut(
      volume: volume, control: control, view: view, base: base,
      expectation: RecoveryExpectation(
        target: plan.lsn, lastRecordStart: summary.lastRecordStart, segmentSize: plan.segmentSize),
      parameters: summary.parameters)
  }

  var pages: LazyPages {
    LazyPages(specification: specification, directory: directory, environment: environment)
  }

  /// A keyframe's tree without what stays behind.
  func withoutWhatStays(_ tree: FileTreeSnapshot) -> FileTreeSnapshot {
    removing(from: tree) { staysBehind(path: $0, kind: $1.kind) }
  }

  // MARK: Replay by the server

  private func planReplay(
    _ history: LineHistory, _ moment: Moment, _ reason: ReplayReason?
  ) async throws -> (LineWriter, OpeningPlan) {
    guard let keyframe = moment.complete else {
      throw ComputeError(
        .damagedHistory,
        "open the moment \(moment.lsn) by replay (\(reason?.name ?? "wanted")): no keyframe at or "
          + "before it is complete")
    }
    if case .fallback(let why) = reason {
      log.notice("the moment is opened by replay", metadata: ["reason": "\(why)"])
    }
    let plan = await makePlan(history, moment, from: keyframe, isLazy: false)
    let origin = LineOrigin(line: parent, branchLSN: plan.lsn, base: keyframe.groups)
    return (try await createLine(plan, origin, history), plan)
  }

  private func replay(
    _ history: LineHistory, _ writer: LineWriter, _ plan: OpeningPlan
  ) async throws -> PreparedCompute {
    guard let origin = writer.description.parent else {
      throw ComputeError(.damagedHistory, "open line '\(specification.line)': it has no parent")
    }
    let major = try postgresMajor(specification.major)
    let view = try await environment.threads.run { [environment] in
      try LayerStackView(
        layers: origin.base.layers,
        storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem))
    }
    let warmed = WarmedBaseView(view)
    let image = BranchBaseView(warmed)
    async let tail = writeTail(history, plan, image.tree, major: major)
    let (volume, control) = try await openVolume(on: image, plan)
    let summary = try await tail
    try await environment.threads.run {
      try ImagePreparation(volume: volume, major: major)
        .removeForks(of: summary.newlyUnlogged, in: image.tree)
    }
    warm(warmed, summary.wanted)
    return PreparedCompute(
      volume: volume, writer: writer,
      expectation: RecoveryExpectation(
        target: plan.lsn, lastRecordStart: summary.lastRecordStart, segmentSize: plan.segmentSize),
      control: control, tailParameters: summary.parameters, warmed: warmed)
  }

  func openVolume(
    on base: any BaseView, _ plan: OpeningPlan
  ) async throws -> (Volume, ControlFile) {
    let major = try postgresMajor(specification.major)
    return try await environment.threads.run { [directory] in
      let volume = try Compute.openVolume(directory, base: base, deferred: true)
      let preparation = ImagePreparation(volume: volume, major: major)
      return (
        volume, try preparation.patchControlFile(systemIdentifier: plan.systemIdentifier)
      )
    }
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

  private var planFile: String { "\(directory.path)/opening.json" }

  /// The line that an opening which died had made, if it got that far.
  private func unfinished() async throws -> (LineWriter, OpeningPlan)? {
    guard let bytes = FileManager.default.contents(atPath: planFile) else { return nil }
    let plan = try JSONDecoder().decode(OpeningPlan.self, from: bytes)
    do {
      let line = LineID(rawValue: specification.line)
      return (try await LineWriter.resume(line, environment: environment), plan)
    } catch let error as HistoryError where error.code == .unknownLine {
      return nil
    }
  }

  func makePlan(
    _ history: LineHistory, _ moment: Moment, from keyframe: Keyframe, isLazy: Bool
  ) async -> OpeningPlan {
    let line = await history.description
    return OpeningPlan(
      lsn: moment.lsn, redoLSN: keyframe.redoLSN, timeline: keyframe.timeline,
      // Who follows a server must have its identity (`walreceiver.c`).
      systemIdentifier: specification.follows == nil
        ? makeSystemIdentifier() : line.systemIdentifier,
      segmentSize: UInt64(line.segmentSize), isLazy: isLazy)
  }

  private func createLine(
    _ plan: OpeningPlan, _ origin: LineOrigin, _ history: LineHistory
  ) async throws -> LineWriter {
    try environment.fileSystem.replaceFile(
      planFile, with: [UInt8](JSONEncoder().encode(plan)), operation: "write opening.json")
    let former = await history.description
    return try await LineWriter.create(
      LineDescription(
        id: LineID(rawValue: specification.line), project: specification.projectID,
        parent: origin, startLSN: plan.lsn, timeline: plan.timeline,
        systemIdentifier: plan.systemIdentifier, major: former.major,
        serverVersion: specification.serverVersion, segmentSize: former.segmentSize,
        createdAt: environment.now(), bootstrapRole: former.bootstrapRole),
      environment: environment)
  }

  /// As `initdb` makes them: seconds above, chance below.
  func makeSystemIdentifier() -> UInt64 {
    let seconds = UInt64(Date().timeIntervalSince1970)
    return seconds << 32 | (environment.random() & 0xFFFF_FFFF)
  }
}

/// Whether `pg_subscription` (OID 6100) may have rows: its file is not empty, or has another name.
func mayHoldSubscriptions(_ tree: FileTreeSnapshot) -> Bool {
  let paths = TreePaths(tree)
  let entry = tree.entries.first { $0.name == "6100" && paths.path(of: $0) == "global/6100" }
  return entry.map { $0.size > 0 } ?? true
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
