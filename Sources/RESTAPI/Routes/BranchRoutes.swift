import APITypes
import Catalog
import ControlPlane

extension RouteTable {
  private static let branch = "/projects/{project_id}/branches/{branch_id}"

  static func branches(_ plane: ControlPlane) -> [Route] {
    branchLists(plane) + oneBranch(plane) + ["default", "primary"].map { setDefault(plane, $0) }
  }

  private static func branchLists(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "POST", "/projects/{project_id}/branches", "createProjectBranch",
        "Makes a branch at any moment of another", body: API.BranchCreateRequest.self,
        isBodyRequired: false, status: 201
      ) { request in
        let body =
          request.body.isEmpty
          ? API.BranchCreateRequest() : try request.decode(API.BranchCreateRequest.self)
        return try await plane.branches.create(
          body, project: request.project, account: request.account)
      },
      list(plane),
      Route(
        "GET", "/projects/{project_id}/branches/count", "countProjectBranches", "Counts branches",
        query: [.search]
      ) { request in
        API.BranchesCountResponse(
          count: try await plane.branches.count(
            project: request.project, account: request.account, search: request.query["search"]))
      },
    ]
  }

  private static func oneBranch(_ plane: ControlPlane) -> [Route] {
    [
      Route("GET", branch, "getProjectBranch", "Shows a branch and its restore window") { request in
        let (branch, annotation) = try await plane.branches.get(
          request.branch, project: request.project, account: request.account)
        return API.BranchResponse(branch: branch, annotation: annotation)
      },
      Route(
        "PATCH", branch, "updateProjectBranch", "Renames, protects or dates a branch",
        body: API.BranchUpdateRequest.self
      ) { request in
        let body = try request.decode(API.BranchUpdateRequest.self)
        return try await plane.branches.update(
          request.branch, body.branch, project: request.project, account: request.account)
      },
      Route(
        "DELETE", branch, "deleteProjectBranch", "Deletes a branch", query: [.flag("hard_delete")]
      ) { request in
        try await plane.branches.delete(
          request.branch, project: request.project, account: request.account,
          forGood: try request.query.flag("hard_delete"))
      },
    ]
  }

  private static func list(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/projects/{project_id}/branches", "listProjectBranches", "Lists branches",
      query: [
        .search, .cursor, .limit(10_000), .flag("include_deleted"),
        QueryParameter(name: "sort_by", kind: .words(BranchSortColumn.allCases.map(\.rawValue))),
        QueryParameter(name: "sort_order", kind: .words(["asc", "desc"])),
      ]
    ) { request in
      let column = try request.query.word(
        "sort_by", oneOf: BranchSortColumn.allCases.map(\.rawValue))
      let order = try request.query.word("sort_order", oneOf: ["asc", "desc"]) ?? "desc"
      let sort = column.flatMap { BranchSortColumn(rawValue: $0) } ?? .updatedAt
      let found = try await plane.branches.list(
        project: request.project, account: request.account, search: request.query["search"],
        includesDeleted: try request.query.flag("include_deleted"), by: sort,
        page: try request.page(
          maximum: 10_000, default: 100, order: order == "asc" ? .ascending : .descending))
      let pagination = try Cursor.text(found.next).map {
        API.CursorPagination(next: $0, sortBy: sort.rawValue, sortOrder: order)
      }
      return API.BranchListResponse(
        branches: found.branches, annotations: found.annotations, pagination: pagination)
    }
  }

  private static func setDefault(_ plane: ControlPlane, _ word: String) -> Route {
    Route(
      "POST", "\(branch)/set_as_\(word)",
      word == "default" ? "setDefaultProjectBranch" : "setPrimaryProjectBranch",
      "Makes a branch the project's default"
    ) { request in
      try await plane.branches.setDefault(
        request.branch, project: request.project, account: request.account)
    }
  }

  static func rolesAndDatabases(_ plane: ControlPlane) -> [Route] {
    roles(plane) + databases(plane)
  }

  private static func roles(_ plane: ControlPlane) -> [Route] {
    let role = "\(branch)/roles/{role_name}"
    return [
      Route("GET", "\(branch)/roles", "listProjectBranchRoles", "Lists roles") { request in
        API.RolesResponse(
          roles: try await plane.roles.list(
            branch: request.branch, project: request.project, account: request.account))
      },
      Route(
        "POST", "\(branch)/roles", "createProjectBranchRole", "Makes a role",
        body: API.RoleCreateRequest.self, status: 201
      ) { request in
        let body = try request.decode(API.RoleCreateRequest.self)
        return try await plane.roles.create(
          body.role, branch: request.branch, project: request.project, account: request.account)
      },
      Route("GET", role, "getProjectBranchRole", "Shows a role") { request in
        API.RoleResponse(
          role: try await plane.roles.get(
            request.role, branch: request.branch, project: request.project,
            account: request.account))
      },
      Route("DELETE", role, "deleteProjectBranchRole", "Deletes a role") { request in
        try await plane.roles.delete(
          request.role, branch: request.branch, project: request.project, account: request.account)
      },
      Route(
        "POST", "\(role)/reset_password", "resetProjectBranchRolePassword",
        "Gives a role a new password"
      ) { request in
        try await plane.roles.resetPassword(
          request.role, branch: request.branch, project: request.project, account: request.account)
      },
    ] + ["GET", "POST"].map { reveal(plane, $0, "\(role)/reveal_password") }
  }

  private static func reveal(_ plane: ControlPlane, _ method: String, _ pattern: String) -> Route {
    Route(
      method, pattern,
      method == "GET" ? "getProjectBranchRolePassword" : "revealProjectBranchRolePassword",
      "Tells a role's password"
    ) { request in
      API.RolePasswordResponse(
        password: try await plane.roles.revealPassword(
          request.role, branch: request.branch, project: request.project, account: request.account))
    }
  }

  private static func databases(_ plane: ControlPlane) -> [Route] {
    let database = "\(branch)/databases/{database_name}"
    return [
      Route("GET", "\(branch)/databases", "listProjectBranchDatabases", "Lists databases") {
        request in
        API.DatabasesResponse(
          databases: try await plane.databases.list(
            branch: request.branch, project: request.project, account: request.account))
      },
      Route(
        "POST", "\(branch)/databases", "createProjectBranchDatabase", "Makes a database",
        body: API.DatabaseCreateRequest.self, status: 201
      ) { request in
        let body = try request.decode(API.DatabaseCreateRequest.self)
        return try await plane.databases.create(
          body.database, branch: request.branch, project: request.project, account: request.account)
      },
      Route("GET", database, "getProjectBranchDatabase", "Shows a database") { request in
        API.DatabaseResponse(
          database: try await plane.databases.get(
            request.database, branch: request.branch, project: request.project,
            account: request.account))
      },
      Route(
        "PATCH", database, "updateProjectBranchDatabase", "Changes a database's owner",
        body: API.DatabaseUpdateRequest.self
      ) { request in
        let body = try request.decode(API.DatabaseUpdateRequest.self)
        return try await plane.databases.update(
          request.database, body.database, branch: request.branch, project: request.project,
          account: request.account)
      },
      Route("DELETE", database, "deleteProjectBranchDatabase", "Deletes a database") { request in
        try await plane.databases.delete(
          request.database, branch: request.branch, project: request.project,
          account: request.account)
      },
    ]
  }
}

extension APIRequest {
  var role: String { parameters["role_name"] ?? "" }
  var database: String { parameters["database_name"] ?? "" }
}
