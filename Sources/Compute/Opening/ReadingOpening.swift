import DurableIO
import Foundation
import History
import PageRedo
import PostgresFormat
import Volume

/// A volume and a `pg_wal` on which a server can only read.
struct PreparedReading: Sendable {
  var volume: Volume
  var control: ControlFile
  /// The highest settings that the tail notes, which the control file has once it is replayed.
  var tailParameters: ParameterChange?
  /// What the server may not allow less of.
  var parameters: ParameterChange { control.parameters.raised(to: tailParameters) }
  /// Where replay must stand: the end of the moment's last record.
  var target: LSN
  /// Holds the tail's blocks until the server has replayed it.
  var warmed: WarmedBaseView?
  /// Makes the moment's pages when they are read, in place of replay.
  var lazy: LazyBaseView?
  /// Why the tail is replayed, where it is.
  var replayReason: String?
  /// The role with OID 10, where it has not the platform's name at the moment.
  var bootstrapRole: String?

  func close() throws {
    lazy?.close()
    try volume.close()
  }
}

extension MomentOpening {
  /// Lays out volume and WAL as ``prepare()`` does, but makes no line, and the server a standby that
  /// has nobody to follow: it replays up to the moment and stays in recovery, where PostgreSQL writes
  /// nothing for anyone (`PreventCommandDuringRecovery`, `xact.c`).
  func prepareReading() async throws -> PreparedReading {
    let history = try await LineHistory.open(parent, store: environment.store)
    let moment = try await history.seek(.lsn(target), now: environment.now())
    let major = try postgresMajor(specification.major)
    var reason = await moment.replayReason(history, major: major, wanted: specification.opening)
    var lazy: PreparedReading?
    if reason == nil {
      do {
        switch try await readLazily(history, moment) {
        case .prepared(let prepared): lazy = prepared
        case .replay(let fallback): reason = .fallback(fallback.reason.rawValue)
        }
      } catch let error as PageRedoError {
        reason = noted(error)
      }
    }
    var ready: PreparedReading
    if let lazy {
      ready = lazy
    } else {
      ready = try await readReplayed(history, moment, major)
      ready.replayReason = reason?.name
    }
    // On a line that goes on from such a one the role has been renamed.
    let description = await history.description
    if description.parent == nil { ready.bootstrapRole = description.bootstrapRole }
    try await environment.threads.run { [ready] in
      _ = try ready.volume.writeFile("standby.signal", [])
    }
    return ready
  }

  private enum ReadingOutcome {
    case prepared(PreparedReading)
    /// The tail holds what only a server can replay.
    case replay(TailRewriter.Fallback)
  }

  private func readLazily(
    _ history: LineHistory, _ moment: Moment
  ) async throws -> ReadingOutcome {
    let pool = try await pages.pool()
    do {
      let outcome = try await readLazily(history, moment, pool)
      if case .replay = outcome { pool.discard() }
      return outcome
    } catch {
      pool.discard()
      throw error
    }
  }

  private func readLazily(
    _ history: LineHistory, _ moment: Moment, _ pool: RedoPool
  ) async throws -> ReadingOutcome {
    let plan = await makePlan(history, moment, from: moment.keyframe, isLazy: true)
    let image = try await pages.image(moment.keyframe.image)
    let summary: RewrittenTail.Summary
    switch try await rewriteTail(history, plan, withoutWhatStays(image.tree)) {
    case .replay(let fallback): return .replay(fallback)
    case .lazy(let found): summary = found
    }
    try await requireWorkers(pool)
    let view = try await pages.view(
      history, image: image, moment: plan.lsn, tree: summary.moment.tree, pool: pool)
    let (volume, control) = try await openVolume(on: view, plan)
    return .prepared(
      PreparedReading(
        volume: volume, control: control, tailParameters: summary.parameters, target: plan.lsn,
        lazy: view))
  }

  private func readReplayed(
    _ history: LineHistory, _ moment: Moment, _ major: PostgresMajor
  ) async throws -> PreparedReading {
    guard let keyframe = moment.complete else {
      throw ComputeError(
        .damagedHistory,
        "read the moment \(moment.lsn): no keyframe at or before it is complete")
    }
    let plan = await makePlan(history, moment, from: keyframe, isLazy: false)
    let view = try await environment.threads.run { [environment] in
      try LayerStackView(
        layers: keyframe.groups.layers,
        storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem))
    }
    let warmed = WarmedBaseView(view)
    let image = BranchBaseView(warmed)
    async let tail = writeTail(history, plan, image.tree, major: major)
    let (volume, control) = try await openVolume(on: image, plan)
    let summary = try await tail
    warm(warmed, summary.wanted)
    return PreparedReading(
      volume: volume, control: control, tailParameters: summary.parameters, target: plan.lsn,
      warmed: warmed)
  }
}
