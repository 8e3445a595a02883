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
      return try Self.schedule(of: try core.branch(tx, branch, of: project.id), tx)
    }
  }

  private static func schedule(
    of branch: BranchRecord, _ tx: CatalogTransaction
  ) throws -> API.BackupSchedule {
    API.BackupSchedule(schedule: try tx.schedule(of: branch.id).map(Self.present))
  }

  /// Adds an item at the end; the others stay as they are, also those that somebody adds at the same
  /// time.
  public func add(
    _ item: API.BackupScheduleItem, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.BackupSchedule {
    let rule = try ScheduleRules(kinds: kinds).check(item, "")
    return try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      let present = try tx.schedule(of: branch.id)
      try ScheduleRules.count(present.count + 1)
      try tx.insert(
        row(item, rule, at: (present.last?.position ?? -1) + 1, branch, project))
      return try Self.schedule(of: branch, tx)
    }
  }

  /// Removes one item; the others stay as they are.
  public func remove(
    _ id: ScheduleItemID, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.BackupSchedule {
    try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      guard try tx.deleteScheduleItem(id, of: branch.id) else {
        throw ControlPlaneError(
          .scheduleItemNotFound,
          "remove item '\(id)' of the schedule of branch '\(branch.name)': there is none",
          hint: "look at the schedule again: it was changed meanwhile")
      }
      return try Self.schedule(of: branch, tx)
    }
  }

  /// Replaces the schedule. An item that was there before keeps its next and last run.
  public func set(
    _ schedule: API.BackupSchedule, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws {
    let rules = try ScheduleRules(kinds: kinds).check(schedule.schedule)
    try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      var before = try tx.schedule(of: branch.id)
      try tx.deleteSchedule(of: branch.id)
      for (position, (item, rule)) in zip(schedule.schedule, rules).enumerated() {
        var row = row(item, rule, at: position, branch, project)
        if let index = before.firstIndex(where: { row.isSamePlan(as: $0) }) {
          row.takeRuns(of: before.remove(at: index))
        }
        try tx.insert(row)
      }
    }
  }

  private func row(
    _ item: API.BackupScheduleItem, _ rule: ScheduleRule, at position: Int,
    _ branch: BranchRecord, _ project: ProjectRecord
  ) -> ScheduleItemRecord {
    let now = core.clock.now
    return ScheduleItemRecord(
      id: core.names.scheduleItem(), accountID: project.accountID, plan: project.plan,
      projectID: project.id, branchID: branch.id, position: position,
      frequency: item.frequency.rawValue, hour: item.hour, day: item.day, month: item.month,
      retentionSeconds: item.retentionSeconds, kind: (item.kind ?? .snapshot).rawValue,
      timeZone: item.timeZone ?? "UTC", nextRunAt: rule.next(after: now), createdAt: now)
  }

  private static func present(_ row: ScheduleItemRecord) throws -> API.BackupScheduleItem {
    let rule = try row.rule()
    var item = API.BackupScheduleItem(
      frequency: rule.frequency, hour: row.hour, day: row.day, month: row.month,
      retentionSeconds: row.retentionSeconds, kind: API.BackupKind(rawValue: row.kind),
      timeZone: row.timeZone)
    item.id = row.id.rawValue
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
