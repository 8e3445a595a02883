import APITypes
import Catalog
import ControlPlane

extension RouteTable {
  /// Proofs that what is kept can be brought back, and alerts; ours.
  static func proofs(_ plane: ControlPlane) -> [Route] {
    verifications(plane) + drills(plane) + [alerts(plane), capture(plane)]
  }

  private static let listLimit = 100

  private static func verifications(_ plane: ControlPlane) -> [Route] {
    ["/projects/{project_id}", ""].flatMap { owner -> [Route] in
      let isProject = !owner.isEmpty
      let (name, whose) =
        isProject ? ("ProjectVerification", "a project") : ("Verification", "everything")
      let path = "\(owner)/verifications"
      @Sendable func project(_ request: APIRequest) -> ProjectID? {
        isProject ? request.project : nil
      }
      return [
        Route(
          "GET", path, "list\(name)s", "Lists checks of what the store holds of \(whose)",
          query: [.limit(listLimit)]
        ) { request in
          API.VerificationListResponse(
            verifications: try await plane.verifications.list(
              project: project(request), account: request.caller.account,
              limit: try request.query.integer("limit", in: 1...listLimit) ?? 20))
        },
        Route(
          "POST", path, "create\(name)", "Checks what the store holds of \(whose)", status: 201
        ) { request in
          API.VerificationResponse(
            verification: try await plane.verifications.start(
              project: project(request), account: request.caller.account))
        },
        Route(
          "GET", "\(path)/{verification_id}", "get\(name)", "Shows a check of \(whose)"
        ) { request in
          API.VerificationResponse(
            verification: try await plane.verifications.get(
              request.parameters["verification_id"] ?? "", project: project(request),
              account: request.caller.account))
        },
      ]
    }
  }

  private static func drills(_ plane: ControlPlane) -> [Route] {
    let path = "/projects/{project_id}/drills"
    return [
      Route(
        "GET", path, "listProjectDrills", "Lists restore drills, newest first",
        query: [.limit(listLimit)]
      ) { request in
        API.DrillListResponse(
          drills: try await plane.drills.list(
            project: request.project, account: request.account,
            limit: try request.query.integer("limit", in: 1...listLimit) ?? 20))
      },
      Route("GET", "\(path)/{drill_id}", "getProjectDrill", "Shows a restore drill") { request in
        API.DrillResponse(
          drill: try await plane.drills.get(
            request.parameters["drill_id"] ?? "", project: request.project,
            account: request.account))
      },
      Route(
        "POST", "/projects/{project_id}/branches/{branch_id}/drills", "createBranchDrill",
        "Opens a random moment of the branch, to prove that it can be", status: 201
      ) { request in
        API.DrillResponse(
          drill: try await plane.drills.start(
            branch: request.branch, project: request.project, account: request.account))
      },
    ]
  }

  private static func capture(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/projects/{project_id}/capture", "getProjectCapture",
      "Shows how far running computes' changes are from the object store"
    ) { request in
      try await plane.capture.status(project: request.project, account: request.account)
    }
  }

  private static func alerts(_ plane: ControlPlane) -> Route {
    Route(
      "GET", "/alerts", "listAlerts", "Lists alerts, open ones first (operator)",
      query: [.limit(listLimit)]
    ) { request in
      API.AlertListResponse(
        alerts: try await plane.alerts.list(
          account: request.caller.account,
          limit: try request.query.integer("limit", in: 1...listLimit) ?? 50))
    }
  }
}
