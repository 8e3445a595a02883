import DurableIO
import Foundation
import History
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
    var prepared: PreparedReading?
    if await moment.replayReason(history, major: major, wanted: specification.opening) == nil {
      prepared = try await readLazily(history, moment)
    }
    var ready: PreparedReading
    if let prepared {
      ready = prepared
    } else {
      ready = try await readReplayed(history, moment, major)
    }
    // On a line that goes on from such a one the role has been renamed.
    let description = await history.description
    if description.parent == nil { ready.bootstrapRole = description.bootstrapRole }
    try await environment.threads.run { [ready] in
      _ = try ready.volume.writeFile("standby.signal", [])
    }
    return ready
  }

  /// `nil` where the tail holds what only a server can replay.
  private func readLazily(
    _ history: LineHistory, _ moment: Moment
  ) async throws -> PreparedReading? {
    let plan = await makePlan(history, moment, from: moment.keyframe, isLazy: true)
    let image = try await pages.image(moment.keyframe.image)
    guard
      case .lazy(let summary) = try await rewriteTail(history, plan, withoutWhatStays(image.tree))
    else { return nil }
    let view = try await pages.view(
      history, image: image, moment: plan.lsn, tree: summary.moment.tree)
    let (volume, control) = try await openVolume(on: view, plan)
    return PreparedReading(
      volume: volume, control: control, tailParameters: summary.parameters, target: plan.lsn,
      lazy: view)
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
