import APITypes
import Catalog
import ControlPlane
import Foundation

extension RouteTable {
  /// The retention window; ours.
  static func retention(_ plane: ControlPlane) -> [Route] {
    let path = "/projects/{project_id}/retention"
    return [
      Route(
        "GET", path, "getProjectRetention",
        "Shows the retention window, and what another length would cost",
        query: [
          QueryParameter(name: "history_retention_seconds", kind: .integer(0...Int(Int32.max)))
        ]
      ) { request in
        try await plane.retention.show(
          project: request.project, account: request.account,
          proposed: try request.query.integer("history_retention_seconds", in: 0...Int(Int32.max)))
      },
      Route(
        "PUT", path, "setProjectRetention",
        "Changes the retention window; shrinking wants \"confirm\": true and starts after an hour",
        body: API.RetentionUpdateRequest.self
      ) { request in
        let body = try request.decode(API.RetentionUpdateRequest.self)
        return try await plane.retention.update(
          body, project: request.project, account: request.account)
      },
      Route(
        "DELETE", "\(path)/pending", "cancelProjectRetention",
        "Takes back a shrinking that has not started"
      ) { request in
        try await plane.retention.cancel(project: request.project, account: request.account)
      },
    ]
  }

  /// Histories of use, and what they cost.
  static func consumption(_ plane: ControlPlane) -> [Route] {
    histories(plane) + historiesV2(plane) + [periods(plane), estimate(plane)]
  }

  private static let range = [
    QueryParameter(name: "from", kind: .time, isRequired: true),
    QueryParameter(name: "to", kind: .time, isRequired: true),
    QueryParameter(
      name: "granularity", kind: .words(UsageGranularity.allCases.map(\.rawValue)),
      isRequired: true),
    .text("org_id"), QueryParameter(name: "metrics", kind: .list(maximum: 50)),
  ]
  private static let projectIDs = QueryParameter(name: "project_ids", kind: .list(maximum: 100))

  private static func histories(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "GET", "/consumption_history/account", "getConsumptionHistoryPerAccount",
        "Shows the account's use by hour, day or month",
        query: range + [.flag("include_v1_metrics")]
      ) { request in
        try await plane.consumption.account(
          try request.consumptionQuery(), of: request.caller.account)
      },
      Route(
        "GET", "/consumption_history/projects", "getConsumptionHistoryPerProject",
        "Shows projects' use by hour, day or month",
        query: range + [.cursor, .limit(100), projectIDs, .flag("include_v1_metrics")]
      ) { request in
        let page = try request.page(maximum: 100, default: 10)
        var (answer, next) = try await plane.consumption.projects(
          try request.consumptionQuery(), of: request.caller.account,
          among: try request.projects(), after: page.after?.id, limit: page.limit)
        answer.pagination = try Cursor.text(next).map { API.Pagination(cursor: $0) }
        return answer
      },
    ]
  }

  private static func historiesV2(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "GET", "/consumption_history/v2/projects", "getConsumptionHistoryPerProjectV2",
        "Shows projects' use by metric", query: range + [.cursor, .limit(100), projectIDs]
      ) { request in
        let page = try request.page(maximum: 100, default: 10)
        var (answer, next) = try await plane.consumption.projectsV2(
          try request.consumptionQuery(), of: request.caller.account,
          among: try request.projects(), after: page.after?.id, limit: page.limit)
        answer.pagination = try Cursor.text(next).map { API.Pagination(cursor: $0) }
        return answer
      },
      Route(
        "GET", "/consumption_history/v2/branches", "getConsumptionHistoryPerBranchV2",
        "Shows branches' use by metric",
        query: range + [
          .cursor, .limit(1000), projectIDs,
          QueryParameter(name: "branch_ids", kind: .list(maximum: 100)),
        ]
      ) { request in
        guard let projects = try request.projects() else {
          throw ControlPlaneError(.badValue, "'project_ids' is required in the query")
        }
        let page = try request.page(maximum: 1000, default: 100)
        var (answer, next) = try await plane.consumption.branches(
          try request.consumptionQuery(), of: request.caller.account, projects: projects,
          among: try request.query.list("branch_ids", atMost: 100)?.map { BranchID($0) },
          after: page.after?.id, limit: page.limit)
        answer.pagination = try Cursor.text(next).map { API.Pagination(cursor: $0) }
        return answer
      },
    ]
  }

  private static func periods(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/consumption/projects", "listProjectsConsumption",
      "Shows projects' use by billing period",
      query: [
        .cursor, .limit(1000), QueryParameter(name: "from", kind: .time),
        QueryParameter(name: "to", kind: .time),
      ]
    ) { request in
      let page = try request.page(maximum: 1000, default: 10)
      var (answer, next) = try await plane.consumption.periods(
        of: request.caller.account, from: try request.query.time("from"),
        to: try request.query.time("to"), after: page.after?.id, limit: page.limit)
      answer.pagination = try Cursor.text(next).map { API.Pagination(cursor: $0) }
      return answer
    }
  }

  private static func estimate(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/projects/{project_id}/billing_estimate", "getProjectBillingEstimate",
      "Shows what a project's use costs so far in this period, every sum"
    ) { request in
      try await plane.billing.estimate(project: request.project, account: request.account)
    }
  }
}

extension APIRequest {
  /// - Throws: ``ControlPlaneError`` where `org_id` is not the caller's own account, the only one
  ///   that there is for it.
  func requireOwnOrganization() throws {
    guard let organization = query["org_id"], organization != account.rawValue else { return }
    throw ControlPlaneError(
      .accountNotFound, "find organization '\(organization.prefix(64))': there is none",
      hint: "leave 'org_id' out, or give the account's own id")
  }

  fileprivate func consumptionQuery() throws -> ConsumptionQuery {
    try requireOwnOrganization()
    _ = try query.flag("include_v1_metrics")
    let words = UsageGranularity.allCases.map(\.rawValue)
    guard let word = try query.word("granularity", oneOf: words),
      let granularity = UsageGranularity(rawValue: word)
    else { throw ControlPlaneError(.badValue, "'granularity' is required in the query") }
    guard let from = try query.time("from"), let to = try query.time("to") else {
      throw ControlPlaneError(.badValue, "'from' and 'to' are required in the query")
    }
    return ConsumptionQuery(
      from: from, to: to, granularity: granularity,
      metrics: try query.list("metrics", atMost: 50) ?? [])
  }

  fileprivate func projects() throws -> [ProjectID]? {
    try query.list("project_ids", atMost: 100)?.map { ProjectID($0) }
  }
}
