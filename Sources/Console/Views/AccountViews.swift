import APITypes
import Foundation

extension Console {
  /// Parameters of a consumption history that ends now.
  static func range(
    of context: PageContext, granularity: String, hours: Int, now: Date
  ) -> [String: String] {
    let unit: TimeInterval = granularity == "hourly" ? 3600 : 86_400
    let end = (now.timeIntervalSince1970 / unit).rounded(.up) * unit
    return [
      "from": RFC3339.text(Date(timeIntervalSince1970: end - Double(hours) * 3600)),
      "to": RFC3339.text(Date(timeIntervalSince1970: end)), "granularity": granularity,
    ]
  }

  /// One chart a metric.
  static func charts(_ frames: [API.ConsumptionFrame], isHourly: Bool) -> [[String: Any]] {
    func chart(
      _ title: String, _ value: (API.ConsumptionFrame) -> Int, _ text: (Int) -> String,
      isSum: Bool = true
    ) -> [String: Any] {
      let days = frames.map { frame in
        let stamp = RFC3339.text(frame.timeframeStart)
        return DayChart.Day(
          label: isHourly
            ? String(stamp.dropFirst(11).prefix(5)) : String(stamp.dropFirst(5).prefix(5)),
          value: Double(value(frame)), text: text(value(frame)))
      }
      let total = isSum ? frames.map(value).reduce(0, +) : frames.map(value).max() ?? 0
      return [
        "title": title, "total": text(total), "drawing": DayChart(title: title, days: days).svg,
        "rows": days.filter { $0.value > 0 }.map { ["label": $0.label, "text": $0.text] },
      ]
    }
    return [
      chart("Compute time", { $0.computeTimeSeconds }, { Format.duration(seconds: $0) }),
      chart("Written data", { $0.writtenDataBytes }, Format.bytes),
      chart("Transfer out", { $0.dataTransferBytes ?? 0 }, Format.bytes),
      chart("Storage", { $0.syntheticStorageSizeBytes }, Format.bytes, isSum: false),
    ]
  }

  func billing(_ context: PageContext) async throws -> Page {
    let history: API.AccountConsumption = try await context.get(
      ["consumption_history", "account"],
      Self.range(of: context, granularity: "daily", hours: 30 * 24, now: plane.now))
    let projects: API.ProjectListResponse = try await context.get(["projects"], ["limit": "100"])
    let plans: API.PlanListResponse = try await context.get(["plans"])
    let plan = plans.plans.first { $0.name == context.session.caller.account.plan }
    let (estimates, sum) = try await estimates(context, projects.projects)
    let transfers: API.TransferResponse = try await context.get(["consumption_history", "transfer"])
    var values: [String: Any] = [
      "charts": Self.charts(history.periods.flatMap(\.consumption), isHourly: false),
      "estimates": estimates, "sum": Format.money(sum), "hasEstimates": !estimates.isEmpty,
      "transfers": transfers.transfers.map {
        [
          "project": $0.projectID, "endpoint": $0.endpointID,
          "kind": $0.sessionKind.replacing("_", with: " "), "bytes": Format.bytes($0.bytes),
        ]
      }, "hasTransfers": !transfers.transfers.isEmpty,
    ]
    values["plan"] = plan.map { plan in
      [
        "name": plan.name, "projects": Format.number(plan.projectsLimit),
        "branches": Format.number(plan.branchesLimit),
        "retention": Format.duration(seconds: plan.historyRetentionSecondsMaximum),
        "units": Pieces.trimmed(plan.computeUnitsMaximum),
      ]
    }
    return Page(title: "Billing and usage", template: "billing", values: values, active: "billing")
  }

  /// What each project's use costs so far, and all together.
  private func estimates(
    _ context: PageContext, _ projects: [API.ProjectListItem]
  ) async throws -> (rows: [[String: Any]], sum: Double) {
    var sum = 0.0
    var estimates: [[String: Any]] = []
    for project in projects {
      let estimate: API.BillingEstimate = try await context.get(
        ["projects", project.id, "billing_estimate"])
      sum += estimate.total
      estimates.append([
        "name": project.name, "id": project.id, "total": Format.money(estimate.total),
        "items": estimate.items.map { item in
          [
            "metric": Format.words(item.metricName),
            "quantity": String(format: "%.3f", item.quantity), "unit": item.unit,
            "price": Format.money(item.price), "amount": Format.money(item.amount),
          ]
        },
      ])
    }
    return (estimates, sum)
  }

  func keys(_ context: PageContext) async throws -> Page {
    let keys: [API.Key] = try await context.get(["api_keys"])
    return Page(
      title: "API keys", template: "keys",
      values: [
        "keys": keys.map { key in
          var values: [String: Any] = [
            "id": key.id, "name": key.name, "from": key.lastUsedFromAddr,
            "isOwn": key.id == context.session.caller.key.id,
          ]
          values["created"] = Format.time(key.createdAt)
          values["used"] = Format.time(key.lastUsedAt)
          return values
        }
      ], active: "keys")
  }

  func help(_ context: PageContext) async throws -> Page {
    let account = context.session.caller.account
    let tickets: API.SupportTicketsResponse = try await context.get(["support", "tickets"])
    var values: [String: Any] = [
      "guides": Guide.all.map { ["name": $0.name, "title": $0.title, "summary": $0.summary] },
      "hasSupport": account.isAdmin || account.plan != "free", "isAdmin": account.isAdmin,
      "plan": account.plan,
      "tickets": tickets.tickets.map { ticket in
        [
          "id": ticket.id, "subject": ticket.subject, "status": ticket.state,
          "state": ticket.state == "open" ? "busy" : ticket.state == "answered" ? "good" : "quiet",
          "isOpen": ticket.state != "closed", "hasBundle": ticket.hasBundle,
          "updated": Format.time(ticket.updatedAt) ?? [:],
          "messages": ticket.messages.map {
            [
              "author": $0.author, "isOperator": $0.isOperator, "text": $0.text,
              "at": Format.time($0.createdAt) ?? [:],
            ] as [String: Any]
          },
        ] as [String: Any]
      }, "hasTickets": !tickets.tickets.isEmpty,
    ]
    values["community"] = settings.communityURL
    return Page(title: "Help", template: "help", values: values, active: "help")
  }

  func guide(_ name: String) -> Page? {
    guard let guide = Guide.all.first(where: { $0.name == name }) else { return nil }
    return Page(
      title: guide.title, template: "guide",
      values: ["title": guide.title, "text": guide.html], active: "help")
  }
}
