import Catalog
import Foundation

/// What happens to dumps by itself: they expire, and what nobody needs leaves the store.
struct DumpHousekeeping: Sendable {
  let core: Core

  private static let batch = 20

  func round() async throws {
    let now = core.clock.now
    let recoverable = now.addingTimeInterval(-Presenter.recoverySeconds)
    let dumps = try await core.catalog.write { tx in
      try tx.expireDumps(at: now, projectsDeletedBefore: recoverable)
      return try tx.unremovedDumps(limit: Self.batch)
    }
    for dump in dumps {
      do {
        try await core.dumpTools.remove(
          dump: dump.id.rawValue, project: dump.projectID.rawValue)
      } catch {
        // A store that does not answer must not keep the rest of the round from happening.
        core.logger.warning(
          "a dump's objects are removed later",
          metadata: ["dump": "\(dump.id)", "error": "\(error)"])
        continue
      }
      try await core.catalog.write { tx in
        guard var row = try tx.lockDump(dump.id) else { return }
        row.removedAt = core.clock.now
        try tx.update(row)
      }
    }
    try await ScratchComputes(core: core).removeForgotten()
  }
}
