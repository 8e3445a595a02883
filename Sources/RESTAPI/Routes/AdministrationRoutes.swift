import APITypes
import Catalog
import ControlPlane

extension RouteTable {
  /// The operator's routes, and everybody's audit log; ours.
  static func administration(_ plane: ControlPlane) -> [Route] {
    accountRoutes(plane) + planRoutes(plane) + [auditLog(plane)]
  }

  private static func accountRoutes(_ plane: ControlPlane) -> [Route] {
    let admin = plane.administration
    return [
      Route(
        "GET", "/accounts", "listAccounts", "Lists accounts (operator)",
        query: [.cursor, .limit(400)]
      ) { request in
        let (accounts, next) = try await admin.accounts(
          by: request.caller.account, page: try request.page(maximum: 400, default: 100))
        return API.AccountListResponse(
          accounts: accounts, pagination: try Cursor.text(next).map { API.Pagination(cursor: $0) })
      },
      Route(
        "POST", "/accounts", "createAccount", "Makes an account and shows its first key (operator)",
        body: API.AccountCreateRequest.self, status: 201
      ) { request in
        let body = try request.decode(API.AccountCreateRequest.self)
        return try await admin.create(body.account, by: request.caller.account)
      },
      Route("GET", "/accounts/{account_id}", "getAccount", "Shows an account") { request in
        API.AccountResponse(
          account: try await admin.account(request.accountID, by: request.caller.account))
      },
      Route(
        "PATCH", "/accounts/{account_id}", "updateAccount",
        "Renames an account or changes its plan (operator)", body: API.AccountUpdateRequest.self
      ) { request in
        let body = try request.decode(API.AccountUpdateRequest.self)
        return API.AccountResponse(
          account: try await admin.update(
            request.accountID, body.account, by: request.caller.account))
      },
    ]
  }

  private static func planRoutes(_ plane: ControlPlane) -> [Route] {
    let admin = plane.administration
    return [
      Route("GET", "/plans", "listPlans", "Lists plans: all for the operator, else one's own") {
        request in
        API.PlanListResponse(plans: try await admin.plans(by: request.caller.account))
      },
      Route(
        "PUT", "/plans/{plan_name}", "setPlan", "Makes or changes a plan (operator)",
        body: API.PlanRequest.self
      ) { request in
        let body = try request.decode(API.PlanRequest.self)
        return API.PlanResponse(
          plan: try await admin.setPlan(
            request.parameters["plan_name"] ?? "", body.plan, by: request.caller.account))
      },
    ]
  }

  private static func auditLog(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/audit_log", "listAuditLog", "Lists write requests, newest first",
      query: [
        .cursor, .limit(1000), .text("account_id"), QueryParameter(name: "from", kind: .time),
        QueryParameter(name: "to", kind: .time),
      ]
    ) { request in
      let (entries, next) = try await plane.administration.auditLog(
        of: request.query["account_id"].map { AccountID($0) }, from: try request.query.time("from"),
        to: try request.query.time("to"), by: request.caller.account,
        page: try request.page(maximum: 1000, default: 100))
      return API.AuditLogResponse(
        entries: entries, pagination: try Cursor.text(next).map { API.Pagination(cursor: $0) })
    }
  }

  /// Sharing of projects.
  static func permissions(_ plane: ControlPlane) -> [Route] {
    let path = "/projects/{project_id}/permissions"
    return [
      sharedProjects(plane),
      Route("GET", path, "listProjectPermissions", "Lists whom a project is shared with") {
        request in
        API.PermissionListResponse(
          projectPermissions: try await plane.permissions.list(
            project: request.project, account: request.account))
      },
      Route(
        "POST", path, "grantPermissionToProject", "Shares a project with an email address",
        body: API.PermissionGrantRequest.self
      ) { request in
        let body = try request.decode(API.PermissionGrantRequest.self)
        return try await plane.permissions.grant(
          body.email, project: request.project, account: request.account)
      },
      Route(
        "DELETE", path, "revokePermissionByBody", "Ends sharing, by id or address in the body",
        body: API.PermissionRevokeRequest.self
      ) { request in
        let body = try request.decode(API.PermissionRevokeRequest.self)
        return try await plane.permissions.revoke(
          body, project: request.project, account: request.account)
      },
      Route(
        "DELETE", "\(path)/{permission_id}", "revokePermissionFromProject", "Ends sharing"
      ) { request in
        try await plane.permissions.revoke(
          request.parameters["permission_id"] ?? "", project: request.project,
          account: request.account)
      },
    ]
  }

  private static func sharedProjects(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/projects/shared", "listSharedProjects", "Lists projects that others share",
      query: [
        .cursor, .limit(400), .search,
        QueryParameter(name: "timeout", kind: .integer(100...30_000)),
      ]
    ) { request in
      _ = try request.query.integer("timeout", in: 100...30_000)
      let (projects, next) = try await plane.permissions.sharedProjects(
        account: request.account, search: request.query["search"],
        page: try request.page(maximum: 400, default: 10))
      return API.SharedProjectsResponse(
        projects: projects, pagination: try Cursor.text(next).map { API.Pagination(cursor: $0) })
    }
  }
}

extension API {
  /// The answer of `GET /projects/shared`.
  struct SharedProjectsResponse: Codable, Sendable {
    var projects: [ProjectListItem]
    var pagination: Pagination?
  }
}

extension APIRequest {
  var accountID: AccountID { AccountID(parameters["account_id"] ?? "") }
}
