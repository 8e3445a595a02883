import DurableIO
import Foundation
import Logging
import ObjectStorage
import ServiceLifecycle

/// Copies the object store to the second one, and says how the copy stands.
///
/// The status after each pass is in `DIR/mirror.json` (``ObjectMirror/Status``).
struct MirrorService: Service {
  let mirror: ObjectMirror?
  let dataDirectory: String
  let log: Logger
  /// Between the end of a pass and the next.
  private static let pause: Duration = .seconds(10)

  static func statusFile(_ dataDirectory: String) -> String { "\(dataDirectory)/mirror.json" }

  func run() async throws {
    guard let mirror else {
      // A group's service must not end before the others.
      try? await gracefulShutdown()  // cancelled means the same
      return
    }
    try await cancelWhenGracefulShutdown {
      do {
        try await mirror.run(every: Self.pause) { await report($0) }
      } catch is CancellationError {}
    }
  }

  private func report(_ status: ObjectMirror.Status) async {
    if let failure = status.failure {
      log.error(
        "mirror: the copy is behind",
        metadata: ["missing": "\(status.missingObjects)", "error": "\(failure)"])
    }
    do {
      let bytes = Array(try JSONEncoder().encode(status))
      try SystemFileSystem().replaceFile(
        Self.statusFile(dataDirectory), with: bytes, operation: "write mirror status")
    } catch {
      log.error("mirror: the status cannot be written", metadata: ["error": "\(error)"])
    }
  }
}
