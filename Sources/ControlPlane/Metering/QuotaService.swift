import APITypes
import Catalog
import Foundation

/// A limit that was reached, and what to say about it.
struct QuotaBreach: Sendable, Hashable {
  /// What is limited.
  enum Subject: Sendable, Hashable {
    case time, writing, transfer, size
  }

  var subject: Subject
  /// The setting or the plan's limit.
  var field: String
  var limit: Int
  var used: Int
  /// When counters start again; `nil` for sizes, which nothing resets.
  var resetsAt: Date?

  var reason: String { "\(field) is \(limit), used are \(used)" }

  var hint: String {
    guard let resetsAt else { return "raise the limit, or delete data" }
    return "raise the limit, or wait until \(RFC3339.text(resetsAt))"
  }
}

/// Limits on use: the project's own quota, and the plan's limits over all projects of the account.
struct QuotaService: Sendable {
  let core: Core

  /// The first limit that is reached; `nil` where all leave room.
  func breach(of project: ProjectRecord, _ tx: CatalogTransaction) throws -> QuotaBreach? {
    try breaches(of: project, tx).first
  }

  /// Refuses what would run a compute of a project that has reached a limit.
  func require(
    _ project: ProjectRecord, _ tx: CatalogTransaction, doing action: String
  ) throws {
    try refuse(breaches(of: project, tx).first, action)
  }

  /// Refuses what only sends bytes, of a project that has sent all that it may.
  func requireTransfer(
    _ project: ProjectRecord, _ tx: CatalogTransaction, doing action: String
  ) throws {
    try refuse(breaches(of: project, tx).first { $0.subject == .transfer }, action)
  }

  private func refuse(_ breach: QuotaBreach?, _ action: String) throws {
    guard let breach else { return }
    throw ControlPlaneError(.quotaExceeded, "\(action): \(breach.reason)", hint: breach.hint)
  }

  /// All limits that are reached: the project's, then the plan's.
  private func breaches(
    of project: ProjectRecord, _ tx: CatalogTransaction
  ) throws -> [QuotaBreach] {
    let period = BillingPeriod(holding: core.clock.now)
    return try quotaBreaches(project, period, tx) + planBreaches(project, period, tx)
  }

  private func quotaBreaches(
    _ project: ProjectRecord, _ period: BillingPeriod, _ tx: CatalogTransaction
  ) throws -> [QuotaBreach] {
    guard let quota = project.settings.quota else { return [] }
    let branches = try tx.usage(of: project.id, since: period.start)
    let used = branches.values.reduce(into: UsageTotals()) { $0 += $1 }
    let counters: [(QuotaBreach.Subject, String, Int?, Int)] = [
      (.time, "active_time_seconds", quota.activeTimeSeconds, used.activeSeconds),
      (.time, "compute_time_seconds", quota.computeTimeSeconds, used.computeSeconds),
      (.writing, "written_data_bytes", quota.writtenDataBytes, used.writtenBytes),
      (.transfer, "data_transfer_bytes", quota.dataTransferBytes, used.transferBytes),
    ]
    var found: [QuotaBreach] = []
    for case (let subject, let name, let limit?, let used) in counters
    where limit > 0 && used >= limit {
      found.append(
        QuotaBreach(
          subject: subject, field: "project.settings.quota.\(name)", limit: limit, used: used,
          resetsAt: period.end))
    }
    let largest = branches.values.compactMap(\.logicalBytes).max() ?? 0
    if let limit = quota.logicalSizeBytes, limit > 0, largest >= limit {
      found.append(
        QuotaBreach(
          subject: .size, field: "project.settings.quota.logical_size_bytes", limit: limit,
          used: largest))
    }
    return found
  }

  private func planBreaches(
    _ project: ProjectRecord, _ period: BillingPeriod, _ tx: CatalogTransaction
  ) throws -> [QuotaBreach] {
    guard let plan = try tx.plan(project.plan),
      plan.computeSecondsLimit != nil || plan.transferBytesLimit != nil
        || plan.writtenBytesLimit != nil
    else { return [] }
    let used = try tx.usage(of: project.accountID, since: period.start)
    let counters: [(QuotaBreach.Subject, String, Int?, Int)] = [
      (.time, "compute_seconds_limit", plan.computeSecondsLimit, used.computeSeconds),
      (.transfer, "transfer_bytes_limit", plan.transferBytesLimit, used.transferBytes),
      (.writing, "written_bytes_limit", plan.writtenBytesLimit, used.writtenBytes),
    ]
    var found: [QuotaBreach] = []
    for case (let subject, let name, let limit?, let used) in counters where used >= limit {
      found.append(
        QuotaBreach(
          subject: subject, field: "\(name) of plan '\(plan.name)'", limit: limit, used: used,
          resetsAt: period.end))
    }
    return found
  }

  /// Suspends the computes of projects that have reached a limit, and ends their sessions at past moments.
  func enforce() async throws {
    for (endpoint, breach) in try await breaches() {
      core.logger.notice(
        "a quota is used up: the compute is suspended",
        metadata: ["endpoint": "\(endpoint.id)", "reason": "\(breach.reason)"])
      do {
        _ = try await EndpointService(core: core).suspend(
          endpoint.id, project: endpoint.projectID, account: endpoint.accountID)
      } catch let error as ControlPlaneError where error.code == .operationInProgress {
        continue  // the next round tries again
      }
    }
    try await endPastSessions()
  }

  /// Active endpoints of projects that have reached a limit.
  private func breaches() async throws -> [(EndpointRecord, QuotaBreach)] {
    let active = try await core.activeEndpoints().filter { $0.pendingState == nil }
    if active.isEmpty { return [] }
    return try await core.catalog.read { tx in
      var found: [(EndpointRecord, QuotaBreach)] = []
      for (id, endpoints) in Dictionary(grouping: active, by: \.projectID) {
        guard let project = try tx.project(id), let breach = try self.breach(of: project, tx)
        else { continue }
        found += endpoints.map { ($0, breach) }
      }
      return found
    }
  }

  private func endPastSessions() async throws {
    let ids = await core.reading.projects
    guard !ids.isEmpty else { return }
    let breached = try await core.catalog.read { tx -> [ProjectID: QuotaBreach] in
      var found: [ProjectID: QuotaBreach] = [:]
      for id in ids {
        guard let project = try tx.project(id) else { continue }
        found[id] = try self.breach(of: project, tx)
      }
      return found
    }
    for (id, breach) in breached {
      guard try await core.reading.endSessions(of: id, core) else { continue }
      core.logger.notice(
        "a quota is used up: sessions at past moments are ended",
        metadata: ["project": "\(id)", "reason": "\(breach.reason)"])
    }
  }
}
