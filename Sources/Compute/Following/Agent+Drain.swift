import Capture
import Foundation
import History
import PostgresClient

/// The end of a following: what came of the source is stored before anybody lets go of it. While the store was away the
/// source was told of WAL that only the spool holds, and may have it no more.
extension Agent {
  private static let drainTimeout = Duration.seconds(30)
  private static let storingPause = Duration.seconds(10)

  /// Stops following; what came is in the store on return, and the line is marked as drained. The slot stays.
  ///
  /// - Throws: where the store did not take it in time. Nothing is lost: it stays in the spool, and the next start goes
  ///   on with it.
  func suspendFollowing() async throws {
    status.phase = .stopping
    for task in background { task.cancel() }
    following?.tending?.cancel()
    following?.storing?.cancel()
    await following?.storing?.value
    // First: a standby that is starting takes its time to go down, and whoever asked may end this process meanwhile.
    do {
      try await drainForGood()
    } catch {
      await following?.tending?.value
      throw error
    }
    await following?.tending?.value
  }

  private func drainForGood() async throws {
    guard capture != nil else { return }
    try await drain()
    try await blocking { [directory] in try DrainedMarker(directory, following: true).set() }
  }

  /// Ends the stream of a following that cannot go on, and stores what it left for as long as that takes.
  func endStream() async {
    do {
      try await drain()
    } catch {
      log.warning("stopped without storing the last WAL", metadata: ["error": "\(error)"])
      guard status.phase != .stopping else { return }
      following?.storing = Task { await storeRest() }
    }
  }

  private func storeRest() async {
    while true {
      do {
        try await Task.sleep(for: Self.storingPause)
        return try await drain()
      } catch is CancellationError {
        return
      } catch {
        log.warning("the last WAL is not stored yet", metadata: ["error": "\(error)"])
      }
    }
  }

  /// Stops what streams; all that came is in the store on return, also where the stream had ended before.
  private func drain() async throws {
    guard let gate = following?.drain else { return }
    try await gate.run { try await self.drainAlone() }
  }

  private func drainAlone() async throws {
    guard let capture else { return }
    do {
      try await capture.stop(
        drainTo: capture.positions.receivedLSN, timeout: Self.drainTimeout)
    } catch let error as CaptureError where error.code != .timeout {
      log.notice("the stream had ended before", metadata: ["error": "\(error)"])
    }
    let positions = capture.positions
    guard positions.uploadedLSN < positions.receivedLSN else { return }
    // It had ended before, or more came while it was stopped. What has ended stores nothing more: another capture takes
    // over its spool.
    following?.heldUntil = positions.heldUntil ?? following?.heldUntil
    var configuration = capture.configuration
    configuration.pin = { _ in
      throw PostgresError(.connectionLost, "nothing more is asked of the source")
    }
    let rest = try await WALCapture.open(configuration)
    self.capture = rest
    rest.start()
    try await rest.stop(drainTo: rest.positions.receivedLSN, timeout: Self.drainTimeout)
  }
}
