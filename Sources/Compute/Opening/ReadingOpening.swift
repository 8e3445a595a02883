import DurableIO
import Foundation
import History
import PostgresFormat
import Volume

/// A volume and a `pg_wal` on which a server can only read.
struct PreparedReading: Sendable {
  var volume: Volume
  var control: ControlFile
  /// Where replay must stand: the end of the moment's last record.
  var target: LSN
  var warmed: WarmedBaseView
}

extension MomentOpening {
  /// Lays out volume and WAL as ``prepare()`` does, but makes no line, and the server a standby that
  /// has nobody to follow: it replays up to the moment and stays in recovery, where PostgreSQL writes
  /// nothing for anyone (`PreventCommandDuringRecovery`, `xact.c`).
  func prepareReading() async throws -> PreparedReading {
    let history = try await LineHistory.open(parent, store: environment.store)
    let moment = try await history.seek(.lsn(target), now: environment.now())
    let plan = Plan(
      lsn: moment.lsn, redoLSN: moment.keyframe.redoLSN, timeline: moment.keyframe.timeline,
      systemIdentifier: makeSystemIdentifier(),
      segmentSize: UInt64(await history.description.segmentSize))
    let major = try postgresMajor(specification.major)
    let layers = moment.keyframe.layers
    let view = try await environment.threads.run { [environment] in
      try LayerStackView(
        layers: layers,
        storage: LayerStorage(store: environment.store, fileSystem: environment.fileSystem))
    }
    let warmed = WarmedBaseView(view)
    let image = BranchBaseView(warmed)
    async let tail = writeTail(history, plan, image.tree, major: major)
    let (volume, control) = try await environment.threads.run { [directory] in
      let volume = try openVolume(directory, base: image, deferred: true)
      let control = try ImagePreparation(volume: volume, major: major)
        .patchControlFile(systemIdentifier: plan.systemIdentifier)
      _ = try volume.writeFile("standby.signal", [])
      return (volume, control)
    }
    warm(warmed, try await tail.wanted)
    return PreparedReading(volume: volume, control: control, target: plan.lsn, warmed: warmed)
  }
}
