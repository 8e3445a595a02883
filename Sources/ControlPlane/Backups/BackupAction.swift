import APITypes
import Catalog
import Foundation

/// One due run of a backup schedule.
public struct BackupRun: Sendable {
  public var item: ScheduleItemRecord
  /// The time for which it was due; earlier than now where runs were missed.
  public var dueAt: Date
  /// When what it makes is to be removed; `nil` for never.
  public var expiresAt: Date?
}

/// What a scheduled backup does; one for each ``API/BackupKind``.
public protocol BackupAction: Sendable {
  /// Does the work that needs no transaction, and returns the rest: it is run in the transaction
  /// that also marks the run as done, so that a run is never done and forgotten.
  ///
  /// May be called again for the same run, after a failure or a crash before that transaction.
  func prepare(_ run: BackupRun) async throws -> @Sendable (CatalogTransaction) throws -> Void
}

/// Takes a snapshot of the branch's head.
struct SnapshotBackup: BackupAction {
  let core: Core

  func prepare(_ run: BackupRun) async throws -> @Sendable (CatalogTransaction) throws -> Void {
    let resolver = try await core.catalog.read { tx -> MomentResolver in
      guard let project = try tx.project(run.item.projectID),
        let branch = try tx.branch(run.item.branchID)
      else {
        throw ControlPlaneError(
          .branchNotFound, "take a scheduled snapshot: branch '\(run.item.branchID)' is gone")
      }
      return try MomentResolver(core, project, branch, tx)
    }
    let resolved = try await resolver.resolve(.head)
    let now = core.clock.now
    var name = "\(resolver.branch.name) \(run.item.frequency) \(RFC3339.text(run.dueAt))"
    if now.timeIntervalSince(run.dueAt) > BackupScheduler.lateness {
      name += ", late: \(RFC3339.text(now))"
    }
    let record = SnapshotService(core: core).record(
      resolver, .head, resolved,
      name: name, isManual: false, expiresAt: run.expiresAt)
    return { tx in try tx.insert(record) }
  }
}
