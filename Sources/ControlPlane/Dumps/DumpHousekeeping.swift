import Catalog
import Foundation
import Synchronization

/// What happens to dumps by itself: they expire, and what nobody needs leaves the store.
///
/// *State and invariants*: a round goes on where the last one ended, so that dumps that cannot be removed hold up no
/// others; they are tried again when all have had their turn. While the machine's clock is doubted (``ClockDoubt``),
/// none expires; those that were deleted leave the store all the same.
///
/// *Concurrency*: ``round()`` one at a time.
final class DumpHousekeeping: Sendable {
  private let core: Core
  private let position = Mutex<PagePosition?>(nil)

  private static let batch = 20

  init(core: Core) { self.core = core }

  func round() async throws {
    let now = core.clock.now
    let isDoubted = core.clockDoubt.isDoubted
    let recoverable = now.addingTimeInterval(-Presenter.recoverySeconds)
    let request = PageRequest(
      limit: Self.batch, after: position.withLock { $0 }, order: .ascending)
    let page = try await core.catalog.write { tx in
      if !isDoubted { try tx.expireDumps(at: now, projectsDeletedBefore: recoverable) }
      return try tx.unremovedDumps(request)
    }
    position.withLock { $0 = page.next }
    for dump in page.elements {
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
      try await core.catalog.write { [core] tx in
        guard var row = try tx.lockDump(dump.id) else { return }
        row.removedAt = core.clock.now
        try tx.update(row)
      }
    }
    try await ScratchComputes(core: core).removeForgotten()
  }
}
