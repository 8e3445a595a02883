import DurableIO
import History
import PostgresFormat
import Volume

/// A volume and a `pg_wal` on which a server can be started, and what must be true once it has.
struct PreparedCompute: Sendable {
  var volume: Volume
  var writer: LineWriter
  /// What the volume reads below its own blocks, where that may become another view while it runs.
  var base: MovingBaseView?
  /// What the server says once it has recovered; `nil` for a volume of our own, where recovery goes
  /// wherever the local WAL goes.
  var expectation: RecoveryExpectation?
  var control: ControlFile
  /// The highest settings that the tail notes, which the control file has once it is replayed.
  var tailParameters: ParameterChange?
  /// Holds the tail's blocks until the server has replayed it.
  var warmed: WarmedBaseView?
  /// The moment may hold subscriptions of the parent.
  var mayHoldSubscriptions = true
  /// Makes the pages of a moment that was opened without replay.
  var lazy: LazyBaseView?
  /// Why a moment was opened by replay.
  var replayReason: String?
  /// What the server may not allow less of.
  var parameters: ParameterChange { control.parameters.raised(to: tailParameters) }
}

/// Where a server must stand after it has opened a moment.
struct RecoveryExpectation: Sendable, Equatable {
  /// The moment: the end of a whole record.
  var target: LSN
  /// Start of the last record of the tail; `nil` where there is nothing to replay.
  var lastRecordStart: LSN?
  var segmentSize: UInt64

  /// Where the first record after the target begins: page headers come first.
  var nextRecord: LSN {
    if target.rawValue % segmentSize == 0 { return target + 40 }
    return target.rawValue % 8192 == 0 ? target + 24 : target
  }

  /// Compares with what the server logged and wrote into its control file.
  /// - Throws: ``ComputeError`` `.recovery`: the branch must not be opened.
  func check(log: PostmasterLog, control: ControlFile) throws {
    if log.redoLast != lastRecordStart && !(log.redoLast == nil && log.redoWasNotRequired) {
      throw failure(
        "the server replayed up to the record at \(describe(log.redoLast)), "
          + "the last one of the moment is at \(describe(lastRecordStart))")
    }
    guard control.checkpointLSN == nextRecord else {
      throw failure(
        "the server's end-of-recovery checkpoint is at \(control.checkpointLSN), "
          + "expected \(nextRecord)")
    }
  }

  private func describe(_ lsn: LSN?) -> String { lsn.map(\.description) ?? "none" }

  private func failure(_ what: String) -> ComputeError {
    ComputeError(
      .recovery, "open the moment \(target): \(what); the branch is not opened",
      hint: "run 'exzo verify'; nothing was changed in the history")
  }
}
