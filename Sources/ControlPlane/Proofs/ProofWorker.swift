import Catalog
import Foundation
import Logging

/// Makes proofs, one at a time, beside everything else.
struct ProofWorker: Sendable {
  let core: Core

  /// Results are kept this long; the last of each subject stay. Seconds.
  private static let keptSeconds: TimeInterval = 90 * 86_400

  func run(every interval: Duration = .seconds(2)) async {
    await withTaskGroup(of: Void.self) { group in
      // A verification may take hours; drills do not wait for it.
      group.addTask { await loop(interval) { try await DrillService(core: core).work() } }
      group.addTask { await loop(interval) { try await VerificationService(core: core).work() } }
      group.addTask {
        await loop(.seconds(3600)) {
          let before = core.clock.now.addingTimeInterval(-Self.keptSeconds)
          try await core.catalog.write { tx in
            try tx.forgetProofs(before: before)
            try tx.forgetAlerts(resolvedBefore: before)
          }
          return false
        }
      }
    }
  }

  private func loop(_ interval: Duration, _ work: () async throws -> Bool) async {
    await PausedLoop(every: interval).run(
      onFailure: {
        core.logger.error("a proof could not be made", metadata: ["error": "\($0)"])
      }, work)
  }
}
