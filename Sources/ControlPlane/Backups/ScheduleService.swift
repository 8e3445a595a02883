import APITypes
import Catalog
import Foundation

/// Backup schedules of branches: read and replaced as a whole.
public struct ScheduleService: Sendable {
  let core: Core
  /// The kinds of backup that can be made here.
  let kinds: Set<API.BackupKind>

  public func get(
    branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.BackupSchedule {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      return API.BackupSchedule(schedule: try tx.schedule(of: branch.id).map(Self.present))
    }
  }

  /// Replaces the schedule. An item that was there before keeps its next and last run.
  public func set(
    _ schedule: API.BackupSchedule, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws {
    let rules = try ScheduleRules(kinds: kinds).check(schedule.schedule)
    let now = core.clock.now
    try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      var before = try tx.schedule(of: branch.id)
      try tx.deleteSchedule(of: branch.id)
      for (position, (item, rule)) in zip(schedule.schedule, rules).enumerated() {
        var row = ScheduleItemRecord(
          id: core.names.scheduleItem(), accountID: project.accountID, plan: project.plan,
          projectID: project.id, branchID: branch.id, position: position,
          frequency: item.frequency.rawValue, hour: item.hour, day: item.day, month: item.month,
          retentionSeconds: item.retentionSeconds, kind: (item.kind ?? .snapshot).rawValue,
          timeZone: rule.timeZone.identifier, nextRunAt: rule.next(after: now), createdAt: now)
        row.timeZone = item.timeZone ?? "UTC"
        if let index = before.firstIndex(where: { row.isSamePlan(as: $0) }) {
          row.takeRuns(of: before.remove(at: index))
        }
        try tx.insert(row)
      }
    }
  }

  private static func present(_ row: ScheduleItemRecord) throws -> API.BackupScheduleItem {
    let rule = try row.rule()
    var item = API.BackupScheduleItem(
      frequency: rule.frequency, hour: row.hour, day: row.day, month: row.month,
      retentionSeconds: row.retentionSeconds, kind: API.BackupKind(rawValue: row.kind),
      timeZone: row.timeZone)
    item.nextRunAt = row.nextRunAt
    item.lastRunAt = row.lastRunAt
    item.lastRunFor = row.lastRunFor
    item.lastRunStatus = row.lastRunStatus.flatMap { API.BackupRunStatus(rawValue: $0) }
    item.lastRunError = row.lastRunError
    item.retryAt = row.retryAt
    return item
  }
}

extension ScheduleItemRecord {
  fileprivate func isSamePlan(as other: ScheduleItemRecord) -> Bool {
    frequency == other.frequency && hour == other.hour && day == other.day && month == other.month
      && kind == other.kind && timeZone == other.timeZone
  }

  fileprivate mutating func takeRuns(of other: ScheduleItemRecord) {
    nextRunAt = other.nextRunAt
    retryAt = other.retryAt
    failuresCount = other.failuresCount
    lastRunAt = other.lastRunAt
    lastRunFor = other.lastRunFor
    lastRunStatus = other.lastRunStatus
    lastRunError = other.lastRunError
  }
}
