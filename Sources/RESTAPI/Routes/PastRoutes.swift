import APITypes
import Catalog
import ControlPlane

extension RouteTable {
  private static let branch = "/projects/{project_id}/branches/{branch_id}"

  /// A branch's timeline, SQL on it, and its rows then and now; ours.
  static func past(_ plane: ControlPlane) -> [Route] {
    [
      timeline(plane), event(plane), moment(plane), query(plane), rows(plane), transfers(plane),
    ]
  }

  private static func timeline(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "\(branch)/timeline", "getProjectBranchTimeline",
      "Shows what happened within a branch's restore window",
      query: [
        QueryParameter(name: "from", kind: .time), QueryParameter(name: "to", kind: .time),
        QueryParameter(name: "buckets", kind: .integer(1...2000)),
      ]
    ) { request in
      let wanted = TimelineService.Request(
        from: try request.query.time("from"), to: try request.query.time("to"),
        buckets: try request.query.integer("buckets", in: 1...2000) ?? 480)
      return API.TimelineResponse(
        timeline: try await plane.timelines.show(
          wanted, branch: request.branch, project: request.project, account: request.account))
    }
  }

  private static func event(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "\(branch)/timeline/event", "getProjectBranchTimelineEvent",
      "Names what an event of the timeline was, by looking at the moment before",
      query: [.text("lsn", isRequired: true), .text("relation")]
    ) { request in
      API.TimelineEventResponse(
        event: try await plane.timelines.event(
          lsn: try request.query.required("lsn"), relation: request.query["relation"],
          branch: request.branch, project: request.project, account: request.account))
    }
  }

  private static func moment(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "\(branch)/moment", "getProjectBranchMoment",
      "Finds a moment and tells how long opening it would take",
      query: [.text("lsn"), QueryParameter(name: "timestamp", kind: .time)]
    ) { request in
      try await plane.timelines.moment(
        lsn: request.query["lsn"], time: try request.query.time("timestamp"),
        branch: request.branch, project: request.project, account: request.account)
    }
  }

  private static func query(_ plane: ControlPlane) -> Route {
    Route(
      "POST", "\(branch)/query", "queryProjectBranch",
      "Runs SQL as a role of the branch, now or read-only at a moment",
      body: API.QueryRequest.self
    ) { request in
      try await plane.queries.run(
        try request.decode(), branch: request.branch, project: request.project,
        account: request.account, from: request.address)
    }
  }

  private static func rows(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "\(branch)/compare_rows", "compareProjectBranchRows",
      "Compares a table's rows at a moment with those of now",
      query: [
        .text("db_name", isRequired: true), .text("role_name", isRequired: true),
        .text("table", isRequired: true), .text("lsn"),
        QueryParameter(name: "timestamp", kind: .time),
      ]
    ) { request in
      let query = request.query
      return API.RowComparisonResponse(
        comparison: try await plane.queries.compareRows(
          of: try query.required("table"),
          API.QueryRequest(
            databaseName: try query.required("db_name"), roleName: try query.required("role_name"),
            query: "", lsn: query["lsn"], timestamp: try query.time("timestamp")),
          branch: request.branch, project: request.project, account: request.account,
          from: request.address))
    }
  }

  private static func transfers(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/consumption_history/transfer", "listTransfers",
      "Shows what this billing period's transfer was, by endpoint and kind of session"
    ) { request in
      try await plane.timelines.transfers(account: request.account)
    }
  }

  /// Support; ours.
  static func support(_ plane: ControlPlane) -> [Route] {
    [
      Route("GET", "/support/tickets", "listSupportTickets", "Lists support tickets") { request in
        API.SupportTicketsResponse(
          tickets: try await plane.support.list(by: request.caller.account))
      },
      Route(
        "POST", "/support/tickets", "createSupportTicket", "Opens a support ticket",
        body: API.SupportTicketCreateRequest.self, status: 201
      ) { request in
        let body = try request.decode(API.SupportTicketCreateRequest.self)
        return API.SupportTicketResponse(
          ticket: try await plane.support.create(body.ticket, by: request.caller.account))
      },
      Route(
        "POST", "/support/tickets/{ticket_id}/messages", "answerSupportTicket",
        "Adds a text to a support ticket", body: API.SupportMessageRequest.self
      ) { request in
        let body = try request.decode(API.SupportMessageRequest.self)
        return API.SupportTicketResponse(
          ticket: try await plane.support.answer(
            request.parameters["ticket_id"] ?? "", body.message, by: request.caller.account))
      },
      Route(
        "GET", "/support/bundle", "getSupportBundle",
        "Shows what a support bundle holds: allow-listed fields of the own account"
      ) { request in try await plane.support.bundle(of: request.caller.account) },
    ]
  }
}
