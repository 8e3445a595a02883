import Capture
import Logging
import PostgresFormat

/// Asks for checkpoints so that no tail takes longer to replay than the restore objective.
///
/// State: what replay will cost is estimated from the WAL written since the newest keyframe's redo
/// LSN; a
/// checkpoint in progress counts only once its keyframe is made, because replay starts where it
/// began. Never asks when
/// idle: without new WAL the estimate does not grow.
struct CheckpointPolicy: Sendable {
  /// Seconds of replay that a tail may take.
  var objective: Double
  /// Bytes of WAL whose tail is read, rewritten, put in place and recovered in a second, one after the other:
  /// rewriting runs at some 840 MB/s, stock recovery without pages at 450 MB/s, reading and writing at 400.
  var replayRate: Double = 150_000_000
  /// A checkpoint for less is not worth its writes.
  var floor: UInt64 = 4 << 20

  /// Bytes since the redo LSN at which a checkpoint is due; the last part of a tail is written
  /// while it runs.
  var threshold: UInt64 { max(floor, UInt64(objective * replayRate * 0.7)) }

  func isDue(receivedLSN: LSN, redoLSN: LSN) -> Bool {
    receivedLSN > redoLSN && receivedLSN - redoLSN >= threshold
  }
}

/// Carries the policy out while a compute runs.
struct CheckpointScheduler: Sendable {
  let policy: CheckpointPolicy
  let capture: WALCapture
  let keyframes: KeyframeService
  let server: ServerSession
  let log: Logger
  var interval: Duration = .milliseconds(250)

  /// Runs until its task is cancelled.
  func run() async {
    var pause = interval
    while !Task.isCancelled {
      do {
        try await Task.sleep(for: pause)
        let redo = await keyframes.redoLSN
        if policy.isDue(receivedLSN: capture.positions.receivedLSN, redoLSN: redo) {
          try await server.checkpoint()
          await keyframes.waitForKeyframe(after: redo)
          // While keyframes fail, each checkpoint only adds an epoch that waits.
          pause = await keyframes.failure == nil ? interval : min(pause * 2, .seconds(60))
        }
      } catch is CancellationError {
        return
      } catch {
        // The server may be down for a moment; it is asked again.
        log.warning("checkpoint not made", metadata: ["error": "\(error)"])
      }
    }
  }
}
