import DurableIO
import Foundation
import Logging
import ObjectStorage
import ServiceLifecycle

/// Copies the object store to the second one, and says how the copy stands.
///
/// The status after each pass is in `DIR/mirror.json` (``ObjectMirror/Status``); what is known of losses is taken from
/// there at the next start. `DIR/mirror-accept` says which loss the operator accepts.
struct MirrorService: Service {
  let mirror: ObjectMirror?
  let dataDirectory: String
  let log: Logger
  /// Between the end of a pass and the next.
  private static let pause: Duration = .seconds(10)

  static func statusFile(_ dataDirectory: String) -> String { "\(dataDirectory)/mirror.json" }
  static func acceptFile(_ dataDirectory: String) -> String { "\(dataDirectory)/mirror-accept" }

  /// The status of the last pass; `nil` where there is none, or it cannot be read.
  static func lastStatus(_ dataDirectory: String) -> ObjectMirror.Status? {
    FileManager.default.contents(atPath: statusFile(dataDirectory)).flatMap {
      try? JSONDecoder().decode(ObjectMirror.Status.self, from: $0)
    }
  }

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
    acceptLoss(status)
  }

  /// What is accepted is one loss, by its time; the file goes once that one is over.
  private func acceptLoss(_ status: ObjectMirror.Status) {
    let path = Self.acceptFile(dataDirectory)
    guard let bytes = FileManager.default.contents(atPath: path) else { return }
    let accepted = Double(String(decoding: bytes, as: UTF8.self))
    if let accepted, accepted == status.lossFoundAt {
      log.notice("mirror: what the first store lost is accepted")
      mirror?.acceptLoss()
      return
    }
    do { try FileManager.default.removeItem(atPath: path) } catch {
      log.error("mirror: '\(path)' cannot be removed", metadata: ["error": "\(error)"])
    }
  }
}
