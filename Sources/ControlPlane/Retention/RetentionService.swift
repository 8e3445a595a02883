import APITypes
import Catalog
import Foundation

/// The retention window of projects: set, shown, cancelled, and told to whoever evicts history.
///
/// # State and invariants
/// 1. A shrinking takes effect an hour after it was asked for. Until then everything is kept, and
///    it can be cancelled.
/// 2. A growing takes effect at once and promises nothing that the window before it did not hold.
/// # Not guarded here
/// Eviction itself: the collector asks ``window(of:at:)``.
public struct RetentionService: Sendable {
  let core: Core

  /// Time between a shrinking and its effect.
  public static let delay: TimeInterval = 3600

  /// What is promised for the project at `date`; what is older may be evicted unless a branch,
  /// snapshot or lease needs it.
  /// - Throws: ``ControlPlaneError`` `.projectNotFound`; a deleted project still has its window.
  public func window(of id: ProjectID, at date: Date) async throws -> RetentionWindow {
    try await core.catalog.read { tx in
      guard let project = try tx.project(id) else {
        throw ControlPlaneError(.projectNotFound, "find project '\(id)': there is none")
      }
      return RetentionWindow(of: project, try tx.retentionChange(of: id), at: date)
    }
  }

  /// Seconds in force at `date`.
  public func effectiveRetention(of id: ProjectID, at date: Date) async throws -> Int {
    try await window(of: id, at: date).seconds
  }

  /// Changes the project's window; the caller writes the project.
  func set(_ seconds: Int, of project: inout ProjectRecord, _ tx: CatalogTransaction) throws {
    let now = core.clock.now
    let change = try tx.retentionChange(of: project.id)
    let window = RetentionWindow(of: project, change, at: now)
    let pending = PendingRetention(of: project, change, at: now)
    guard seconds != project.historyRetentionSeconds || pending != nil else { return }
    defer { project.historyRetentionSeconds = seconds }
    if pending?.seconds == seconds { return }
    var next = RetentionChangeRecord(
      projectID: project.id, accountID: project.accountID, plan: project.plan,
      previousSeconds: window.seconds, requestedAt: now, effectiveAt: now, floor: change?.floor,
      createdAt: now)
    if seconds < window.seconds {
      next.effectiveAt = now.addingTimeInterval(Self.delay)
    } else if seconds > window.seconds {
      next.floor = window.start
    }
    try tx.set(next)
  }

  // MARK: requests

  /// The window, what is pending, and what another length would cost.
  public func show(
    project id: ProjectID, account: AccountID, proposed: Int?
  ) async throws -> API.RetentionStatus {
    let (project, change, lines) = try await core.catalog.read { tx in
      let project = try core.project(tx, id, of: account)
      if let proposed { try self.check(proposed, project, tx) }
      return (project, try tx.retentionChange(of: id), try self.lines(of: project, tx))
    }
    var status = self.status(project, change)
    if let proposed {
      status.cost = try await cost(of: proposed, project, change, lines)
    }
    return status
  }

  /// Sets the window. What takes moments away needs `isConfirmed`.
  public func update(
    _ request: API.RetentionUpdateRequest, project id: ProjectID, account: AccountID
  ) async throws -> API.RetentionStatus {
    let seconds = request.historyRetentionSeconds
    let shown = try await show(project: id, account: account, proposed: seconds)
    if let cost = shown.cost, request.confirm != true {
      let bytes = cost.bytes.map { ", \($0) bytes of history" } ?? ""
      throw ControlPlaneError(
        .confirmationRequired,
        "shrink the retention window of '\(id)' to \(seconds) s: the moments from "
          + "\(RFC3339.text(cost.from)) to \(RFC3339.text(cost.to)) would go\(bytes)",
        hint:
          "send it with \"confirm\": true; it starts after an hour and can be cancelled till then"
      )
    }
    return try await core.catalog.write { tx in
      var project = try core.lock(tx, id, of: account)
      try core.requireFree(tx, id, [], doing: "change project '\(id)'")
      try self.check(seconds, project, tx)
      try self.set(seconds, of: &project, tx)
      project.updatedAt = core.clock.now
      try tx.update(project)
      var status = self.status(project, try tx.retentionChange(of: id))
      status.cost = shown.cost
      return status
    }
  }

  /// Takes back a shrinking that has not started.
  public func cancel(project id: ProjectID, account: AccountID) async throws
    -> API.RetentionStatus
  {
    try await core.catalog.write { tx in
      var project = try core.lock(tx, id, of: account)
      let change = try tx.retentionChange(of: id)
      guard let pending = PendingRetention(of: project, change, at: core.clock.now) else {
        throw ControlPlaneError(
          .retentionNotPending, "cancel the shrinking of the window of '\(id)': none is pending",
          hint: "one can be cancelled within an hour of its request")
      }
      try self.check(pending.previousSeconds, project, tx)
      try self.set(pending.previousSeconds, of: &project, tx)
      project.updatedAt = core.clock.now
      try tx.update(project)
      return self.status(project, try tx.retentionChange(of: id))
    }
  }

  private func check(_ seconds: Int, _ project: ProjectRecord, _ tx: CatalogTransaction) throws {
    guard let plan = try tx.plan(project.plan) else {
      throw ControlPlaneError(.projectNotFound, "change project '\(project.id)': its plan is gone")
    }
    try SettingsRules.retention(seconds, plan)
  }

  private func status(
    _ project: ProjectRecord, _ change: RetentionChangeRecord?
  ) -> API.RetentionStatus {
    let now = core.clock.now
    let window = RetentionWindow(of: project, change, at: now)
    return API.RetentionStatus(
      historyRetentionSeconds: project.historyRetentionSeconds, effectiveSeconds: window.seconds,
      earliestTimestamp: window.start,
      pending: PendingRetention(of: project, change, at: now).map {
        API.PendingRetention(
          historyRetentionSeconds: $0.seconds, previousSeconds: $0.previousSeconds,
          requestedAt: $0.requestedAt, effectiveAt: $0.effectiveAt)
      })
  }

  private func lines(of project: ProjectRecord, _ tx: CatalogTransaction) throws -> [String] {
    Set(try tx.branches(of: project.id).map(\.lineID.rawValue)).sorted()
  }

  /// `nil` where the length takes nothing away.
  private func cost(
    of seconds: Int, _ project: ProjectRecord, _ change: RetentionChangeRecord?, _ lines: [String]
  ) async throws -> API.RetentionCost? {
    let now = core.clock.now
    let window = RetentionWindow(of: project, change, at: now)
    guard seconds < window.seconds else { return nil }
    let start = max(now.addingTimeInterval(-Double(seconds)), window.start)
    guard start > window.start else { return nil }
    var cost = API.RetentionCost(from: window.start, to: start)
    for line in lines {
      guard let part = await core.fleet.historyCost(line: line, before: start) else { continue }
      cost.bytes = (cost.bytes ?? 0) + part.bytes
      cost.commits = (cost.commits ?? 0) + part.commits
    }
    return cost
  }
}
