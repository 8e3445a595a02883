import APITypes
import Catalog
import ControlPlane

extension RouteTable {
  private static let endpoint = "/projects/{project_id}/endpoints/{endpoint_id}"

  static func endpoints(_ plane: ControlPlane) -> [Route] {
    endpointLists(plane) + oneEndpoint(plane) + computes(plane)
  }

  private static func endpointLists(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "POST", "/projects/{project_id}/endpoints", "createProjectEndpoint",
        "Makes an endpoint and starts its compute", body: API.EndpointCreateRequest.self,
        status: 201
      ) { request in
        let body = try request.decode(API.EndpointCreateRequest.self)
        return try await plane.endpoints.create(
          body.endpoint, project: request.project, account: request.account)
      },
      Route("GET", "/projects/{project_id}/endpoints", "listProjectEndpoints", "Lists endpoints") {
        request in
        API.EndpointsResponse(
          endpoints: try await plane.endpoints.list(
            project: request.project, account: request.account))
      },
      Route(
        "GET", "/projects/{project_id}/branches/{branch_id}/endpoints",
        "listProjectBranchEndpoints",
        "Lists a branch's endpoints"
      ) { request in
        API.EndpointsResponse(
          endpoints: try await plane.endpoints.list(
            branch: request.branch, project: request.project, account: request.account))
      },
    ]
  }

  private static func oneEndpoint(_ plane: ControlPlane) -> [Route] {
    [
      Route("GET", endpoint, "getProjectEndpoint", "Shows an endpoint") { request in
        API.EndpointResponse(
          endpoint: try await plane.endpoints.get(
            request.endpoint, project: request.project, account: request.account))
      },
      Route(
        "PATCH", endpoint, "updateProjectEndpoint", "Changes an endpoint",
        body: API.EndpointUpdateRequest.self
      ) { request in
        let body = try request.decode(API.EndpointUpdateRequest.self)
        return try await plane.endpoints.update(
          request.endpoint, body.endpoint, project: request.project, account: request.account)
      },
      Route("DELETE", endpoint, "deleteProjectEndpoint", "Deletes an endpoint") { request in
        try await plane.endpoints.delete(
          request.endpoint, project: request.project, account: request.account)
      },
    ]
  }

  private static func computes(_ plane: ControlPlane) -> [Route] {
    [
      Route("POST", "\(endpoint)/start", "startProjectEndpoint", "Starts a compute") { request in
        try await plane.endpoints.start(
          request.endpoint, project: request.project, account: request.account)
      },
      Route("POST", "\(endpoint)/suspend", "suspendProjectEndpoint", "Suspends a compute") {
        request in
        try await plane.endpoints.suspend(
          request.endpoint, project: request.project, account: request.account)
      },
      Route("POST", "\(endpoint)/restart", "restartProjectEndpoint", "Restarts a compute") {
        request in
        try await plane.endpoints.restart(
          request.endpoint, project: request.project, account: request.account)
      },
    ]
  }
}
