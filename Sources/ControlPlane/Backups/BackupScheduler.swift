import APITypes
import Catalog
import Foundation
import Synchronization

/// Runs backup schedules.
///
/// *State and invariants*: 1. All state is in the catalog: an item's row says for which time its
/// next run is due. 2. A run's result and the mark that it was done are one transaction. 3. Runs
/// missed while nothing ran are made up by one run, which says that it is late. 4. A run that fails
/// stays due and is tried again after a growing pause.
///
/// *Crash*: a run that was not marked is done again; what it had prepared is nobody's.
///
/// *Concurrency*: ``round()`` one at a time.
final class BackupScheduler: Sendable {
  private let core: Core
  private let actions: [API.BackupKind: any BackupAction]
  private let lastRound = Mutex<Date?>(nil)

  /// Runs of one round.
  private static let batch = 100
  /// Later than this after it was due, a run is late; seconds.
  static let lateness: TimeInterval = 300
  /// 1 min, 2 min, 4 min … up to an hour.
  private static let firstPause: TimeInterval = 60
  private static let longestPause: TimeInterval = 3600

  init(core: Core, actions: [API.BackupKind: any BackupAction]) {
    self.core = core
    self.actions = actions
  }

  /// Runs what is due and returns when that is done.
  func round() async throws {
    let now = core.clock.now
    let last = lastRound.withLock { last in
      defer { last = now }
      return last
    }
    if last.map({ now < $0 }) ?? true { try await mendAfterClockChange(now) }
    for item in try await core.catalog.read({
      try $0.dueScheduleItems(at: now, limit: Self.batch)
    }) {
      try await run(item)
    }
  }

  /// Where the clock went back, items may wait for a time that is far away: more than one whole
  /// period ahead, they are due at the next regular time instead. One period and less is kept, so
  /// that what ran already does not run again for the same time.
  private func mendAfterClockChange(_ now: Date) async throws {
    for item in try await core.catalog.read({ try $0.waitingScheduleItems(at: now) }) {
      let rule = try item.rule()
      let next = rule.next(after: now)
      guard item.nextRunAt > rule.next(after: next) else { continue }
      try await core.catalog.write { tx in
        guard var row = try tx.lockScheduleItem(item.id), row.nextRunAt == item.nextRunAt else {
          return
        }
        row.nextRunAt = next
        row.retryAt = nil
        try tx.update(row)
      }
    }
  }

  private func run(_ item: ScheduleItemRecord) async throws {
    let due = item.nextRunAt
    do {
      let rule = try item.rule()
      guard let kind = API.BackupKind(rawValue: item.kind), let action = actions[kind] else {
        throw ControlPlaneError.unsupported("kind", allowed: "change the schedule")
      }
      let expiry = item.retentionSeconds.map { core.clock.now.addingTimeInterval(Double($0)) }
      let finish = try await action.prepare(
        BackupRun(item: item, dueAt: due, expiresAt: expiry))
      try await core.catalog.write { [core] tx in
        // Replaced, or run by another, meanwhile?
        guard var row = try tx.lockScheduleItem(item.id), row.nextRunAt == due else { return }
        try finish(tx)
        let now = core.clock.now
        row.end(
          now.timeIntervalSince(due) > Self.lateness ? .late : .finished, for: due, at: now)
        row.nextRunAt = rule.next(after: max(now, due))
        row.failuresCount = 0
        row.retryAt = nil
        try tx.update(row)
      }
    } catch is CancellationError {
      throw CancellationError()
    } catch let error as CatalogError where error.code == .unavailable || error.code == .diskFull {
      throw error
    } catch {
      try await note(error, of: item)
    }
  }

  /// How long a run waits after so many failures, at least one; seconds.
  static func pause(after failures: Int) -> TimeInterval {
    min(firstPause * Double(1 << min(failures - 1, 10)), longestPause)
  }

  private func note(_ error: any Error, of item: ScheduleItemRecord) async throws {
    core.logger.error(
      "scheduled backup failed",
      metadata: [
        "branch": "\(item.branchID)", "kind": "\(item.kind)",
        "failures": "\(item.failuresCount + 1)",
        "error": "\(error)",
      ])
    try await core.catalog.write { [core] tx in
      guard var row = try tx.lockScheduleItem(item.id), row.nextRunAt == item.nextRunAt else {
        return
      }
      let now = core.clock.now
      row.failuresCount += 1
      row.retryAt = now.addingTimeInterval(Self.pause(after: row.failuresCount))
      row.end(.failed, for: item.nextRunAt, at: now)
      row.lastRunError = "\(error)"
      try tx.update(row)
    }
  }
}

extension ScheduleItemRecord {
  fileprivate mutating func end(_ status: API.BackupRunStatus, for due: Date, at now: Date) {
    lastRunAt = now
    lastRunFor = due
    lastRunStatus = status.rawValue
    lastRunError = nil
  }
}
