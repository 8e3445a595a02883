import APITypes
import Catalog
import Foundation

/// A limit that was reached, and what to say about it.
struct QuotaBreach: Sendable, Hashable {
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
    let period = BillingPeriod(holding: core.clock.now)
    return try quotaBreach(project, period, tx) ?? planBreach(project, period, tx)
  }

  /// Refuses what would run a compute of a project that has reached a limit.
  func require(
    _ project: ProjectRecord, _ tx: CatalogTransaction, doing action: String
  ) throws {
    guard let breach = try breach(of: project, tx) else { return }
    throw ControlPlaneError(.quotaExceeded, "\(action): \(breach.reason)", hint: breach.hint)
  }

  private func quotaBreach(
    _ project: ProjectRecord, _ period: BillingPeriod, _ tx: CatalogTransaction
  ) throws -> QuotaBreach? {
    guard let quota = project.settings.quota else { return nil }
    let branches = try tx.usage(of: project.id, since: period.start)
    let used = branches.values.reduce(into: UsageTotals()) { $0 += $1 }
    let counters = [
      ("active_time_seconds", quota.activeTimeSeconds, used.activeSeconds),
      ("compute_time_seconds", quota.computeTimeSeconds, used.computeSeconds),
      ("written_data_bytes", quota.writtenDataBytes, used.writtenBytes),
      ("data_transfer_bytes", quota.dataTransferBytes, used.transferBytes),
    ]
    for case (let name, let limit?, let used) in counters where limit > 0 && used >= limit {
      return QuotaBreach(
        field: "project.settings.quota.\(name)", limit: limit, used: used, resetsAt: period.end)
    }
    let largest = branches.values.compactMap(\.logicalBytes).max() ?? 0
    guard let limit = quota.logicalSizeBytes, limit > 0, largest >= limit else { return nil }
    return QuotaBreach(
      field: "project.settings.quota.logical_size_bytes", limit: limit, used: largest)
  }

  private func planBreach(
    _ project: ProjectRecord, _ period: BillingPeriod, _ tx: CatalogTransaction
  ) throws -> QuotaBreach? {
    guard let plan = try tx.plan(project.plan),
      plan.computeSecondsLimit != nil || plan.transferBytesLimit != nil
        || plan.writtenBytesLimit != nil
    else { return nil }
    let used = try tx.usage(of: project.accountID, since: period.start)
    let counters = [
      ("compute_seconds_limit", plan.computeSecondsLimit, used.computeSeconds),
      ("transfer_bytes_limit", plan.transferBytesLimit, used.transferBytes),
      ("written_bytes_limit", plan.writtenBytesLimit, used.writtenBytes),
    ]
    for case (let name, let limit?, let used) in counters where used >= limit {
      return QuotaBreach(
        field: "\(name) of plan '\(plan.name)'", limit: limit, used: used, resetsAt: period.end)
    }
    return nil
  }

  /// Suspends the computes of projects that have reached a limit.
  func enforce() async throws {
    let breached = try await core.catalog.read { tx -> [(EndpointRecord, QuotaBreach)] in
      let active = try tx.endpoints(in: .active).filter { $0.pendingState == nil }
      var found: [(EndpointRecord, QuotaBreach)] = []
      for (id, endpoints) in Dictionary(grouping: active, by: \.projectID) {
        guard let project = try tx.project(id), let breach = try self.breach(of: project, tx)
        else { continue }
        found += endpoints.map { ($0, breach) }
      }
      return found
    }
    for (endpoint, breach) in breached {
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
  }
}
