import Foundation
import Logging
import ObjectStorage
import ServiceLifecycle

/// Aborts multipart uploads that a crash left in the buckets: at start, and once a day.
struct UploadCleaningService: Service {
  /// Those of the stores that are buckets, by what they are called in the log.
  let buckets: [(name: String, store: S3ObjectStore)]
  let log: Logger

  /// No upload of ours takes as long; seconds.
  private static let oldest: TimeInterval = 86_400
  private static let pause = Duration.seconds(86_400)
  /// Where the store did not answer.
  private static let retryPause = Duration.seconds(600)

  func run() async throws {
    guard !buckets.isEmpty else {
      // A group's service must not end before the others.
      try? await gracefulShutdown()  // cancelled means the same
      return
    }
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        var answered = true
        for (name, store) in buckets {
          let cleaned = await clean(name, store)
          answered = answered && cleaned
        }
        // Cancelled means that it ends.
        try? await Task.sleep(for: answered ? Self.pause : Self.retryPause)
      }
    }
  }

  /// - Returns: whether the store answered.
  private func clean(_ name: String, _ store: S3ObjectStore) async -> Bool {
    do {
      switch try await store.abortUploads(begunBefore: Date(timeIntervalSinceNow: -Self.oldest)) {
      case .done(let found, let aborted) where aborted > 0:
        log.notice(
          "multipart uploads that were cut off are gone",
          metadata: [
            "store": "\(name)", "aborted": "\(aborted)", "under way": "\(found - aborted)",
          ])
      case .done: break
      case .notSupported(let said):
        log.notice(
          "the store does not list multipart uploads: let a life-cycle rule of the bucket abort what is cut off",
          metadata: ["store": "\(name)", "answer": "\(said)"])
      }
      return true
    } catch is CancellationError {
      return true
    } catch {
      log.warning(
        "multipart uploads were not looked through",
        metadata: ["store": "\(name)", "error": "\(error)"])
      return false
    }
  }
}
