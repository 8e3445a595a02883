import APITypes
import Catalog
import Foundation

/// What a plan can have a price for; the raw values are the names in plans and estimates.
enum BillingMetric: String, CaseIterable, Sendable {
  case computeTime = "compute_unit_hours"
  case dataTransfer = "data_transfer_gigabytes"
  case writtenData = "written_data_gigabytes"
  case logicalSize = "logical_size_gigabyte_months"
  case historySize = "history_gigabyte_months"
  case dumpSize = "dump_gigabyte_months"

  var unit: String {
    switch self {
    case .computeTime: "CU·h"
    case .dataTransfer, .writtenData: "GB"
    case .logicalSize, .historySize, .dumpSize: "GB·month"
    }
  }

  /// Gigabytes are 10^9 bytes; a month is the period's own hours.
  func quantity(of totals: UsageTotals, in period: BillingPeriod) -> Double {
    let hours = Double(period.hours)
    return switch self {
    case .computeTime: Double(totals.computeMilliseconds) / 3_600_000
    case .dataTransfer: Double(totals.transferBytes) / 1e9
    case .writtenData: Double(totals.writtenBytes) / 1e9
    case .logicalSize: Double(totals.branchByteHours) / 1e9 / hours
    case .historySize: Double(totals.restoreByteHours) / 1e9 / hours
    case .dumpSize: Double(totals.dumpByteHours) / 1e9 / hours
    }
  }
}

/// Estimates of what a project's use costs.
public struct BillingService: Sendable {
  let core: Core

  /// The running period's use at the plan's prices, every sum shown.
  public func estimate(
    project id: ProjectID, account: AccountID
  ) async throws -> API.BillingEstimate {
    let period = BillingPeriod(holding: core.clock.now)
    return try await core.catalog.read { tx in
      let project = try core.project(tx, id, of: account)
      guard let plan = try tx.plan(project.plan) else {
        throw ControlPlaneError(
          .projectNotFound, "estimate the cost of project '\(id)': its plan is gone")
      }
      let totals = try tx.usage(of: id, since: period.start).values
        .reduce(into: UsageTotals()) { $0 += $1 }
      let items = BillingMetric.allCases.map { metric in
        let quantity = metric.quantity(of: totals, in: period)
        let price = plan.prices[metric.rawValue] ?? 0
        return API.EstimateItem(
          metricName: metric.rawValue, quantity: quantity, unit: metric.unit, price: price,
          amount: quantity * price)
      }
      return API.BillingEstimate(
        projectID: id.rawValue, plan: plan.name, periodStart: period.start, periodEnd: period.end,
        items: items, total: items.reduce(0) { $0 + $1.amount })
    }
  }
}
