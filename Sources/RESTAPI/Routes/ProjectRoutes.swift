import APITypes
import Catalog
import ControlPlane
import PostgresFormat

extension RouteTable {
  static func projects(_ plane: ControlPlane) -> [Route] {
    projectLists(plane) + oneProject(plane) + operations(plane) + [connectionURI(plane)]
  }

  private static func projectLists(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "GET", "/projects", "listProjects", "Lists the account's projects, newest first",
        query: [.cursor, .limit(400), .search, .flag("recoverable"), .text("org_id")]
      ) { request in
        try request.requireOwnOrganization()
        let (projects, next) = try await plane.projects.list(
          account: request.account, search: request.query["search"],
          isDeleted: try request.query.flag("recoverable"),
          page: try request.page(maximum: 400, default: 10))
        return API.ProjectListResponse(
          projects: projects, pagination: try Cursor.text(next).map { API.Pagination(cursor: $0) },
          applications: [:], integrations: [:])
      },
      Route(
        "POST", "/projects", "createProject", "Makes a project with a branch and a running compute",
        body: API.ProjectCreateRequest.self, status: 201
      ) { request in
        let body = try request.decode(API.ProjectCreateRequest.self)
        return try await plane.projects.create(body.project, account: request.account)
      },
    ]
  }

  private static func oneProject(_ plane: ControlPlane) -> [Route] {
    [
      Route("GET", "/projects/{project_id}", "getProject", "Shows a project") { request in
        API.ProjectResponse(
          project: try await plane.projects.get(request.project, account: request.account))
      },
      Route(
        "PATCH", "/projects/{project_id}", "updateProject", "Changes a project",
        body: API.ProjectUpdateRequest.self
      ) { request in
        let body = try request.decode(API.ProjectUpdateRequest.self)
        return try await plane.projects.update(
          request.project, body.project, account: request.account)
      },
      Route("DELETE", "/projects/{project_id}", "deleteProject", "Deletes a project") { request in
        // The reference's project, and what was started beside it.
        try await plane.projects.delete(request.project, account: request.account)
      },
    ]
  }

  private static func operations(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "GET", "/projects/{project_id}/operations", "listProjectOperations",
        "Lists a project's operations, newest first", query: [.cursor, .limit(1000)]
      ) { request in
        let (operations, next) = try await plane.operations.list(
          project: request.project, account: request.account,
          page: try request.page(maximum: 1000, default: 100))
        return API.OperationListResponse(
          operations: operations,
          pagination: try Cursor.text(next).map { API.Pagination(cursor: $0) })
      },
      Route(
        "GET", "/projects/{project_id}/operations/{operation_id}", "getProjectOperation",
        "Shows an operation"
      ) { request in
        API.OperationResponse(
          operation: try await plane.operations.get(
            OperationID(request.parameters["operation_id"] ?? ""), project: request.project,
            account: request.account))
      },
    ]
  }

  /// The moment of a time-travel session, checked, as the client's options will carry it.
  private static func pastMoment(_ query: QueryValues) throws -> PastSessions.Moment? {
    switch (query["lsn"], try query.time("timestamp")) {
    case (.some, .some):
      throw ControlPlaneError(
        .restorePointAmbiguous, "'lsn' and 'timestamp' are both set", hint: "name one of them")
    case (let text?, nil):
      guard let lsn = LSN(text) else {
        throw ControlPlaneError(
          .badValue, "'lsn' is '\(text.prefix(64))', must be an LSN like 0/1A2B3C")
      }
      return .lsn(lsn.description)
    case (nil, let time?): return .timestamp(RFC3339.text(time))
    case (nil, nil): return nil
    }
  }

  private static func connectionURI(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/projects/{project_id}/connection_uri", "getConnectionURI",
      "Makes a connection string",
      query: [
        .text("branch_id"), .text("endpoint_id"), .text("database_name", isRequired: true),
        .text("role_name", isRequired: true), .flag("pooled"), .text("lsn"), .text("timestamp"),
      ]
    ) { request in
      let query = ConnectionURIService.Query(
        branch: request.query["branch_id"].map { BranchID($0) },
        endpoint: request.query["endpoint_id"].map { EndpointID($0) },
        database: try request.query.required("database_name"),
        role: try request.query.required("role_name"),
        isPooled: try request.query.flag("pooled"), moment: try pastMoment(request.query))
      return API.ConnectionURIResponse(
        uri: try await plane.connections.uri(
          query, project: request.project, account: request.account))
    }
  }
}
