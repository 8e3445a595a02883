import APITypes
import Foundation

extension Console {
  func settingsPage(_ place: ProjectPlace) async throws -> Page {
    let project = place.project
    let retention: API.RetentionStatus = try await place.context.get(place.path("retention"))
    let plans: API.PlanListResponse = try await place.context.get(["plans"])
    let account = place.context.session.caller.account
    let plan = plans.plans.first { $0.name == account.plan }
    let maximum = plan?.historyRetentionSecondsMaximum ?? 604_800
    let shared: API.PermissionListResponse = try await place.context.get(place.path("permissions"))
    var values: [String: Any] = [
      "id": project.id, "name": project.name, "version": project.pgVersion,
      "days": project.historyRetentionSeconds / 86_400,
      "retentionText": Format.duration(seconds: project.historyRetentionSeconds),
      "maximumDays": maximum / 86_400, "seconds": project.historyRetentionSeconds,
      "branches": place.branches.map { Pieces.branch($0, place) },
      "suspend": project.defaultEndpointSettings?.suspendTimeoutSeconds ?? 300,
      "unitsMaximum": Pieces.trimmed(plan?.computeUnitsMaximum ?? 2),
      "computes": place.endpoints.map { endpoint in
        var compute = Pieces.compute(endpoint, project: project.id)
        compute["isReadOnly"] = endpoint.type == .readOnly
        compute["branch"] = place.branchName(endpoint.branchID) ?? ""
        return compute
      },
      "shared": shared.projectPermissions.filter { $0.revokedAt == nil }.map {
        ["id": $0.id, "email": $0.grantedToEmail, "project": project.id]
      },
      "allowed": (project.settings?.allowedIPs?.ips ?? []).joined(separator: "\n"),
    ]
    values["earliest"] = Format.time(retention.earliestTimestamp)
    values["pending"] = retention.pending.map { pending in
      [
        "to": Format.duration(seconds: pending.historyRetentionSeconds),
        "at": Format.time(pending.effectiveAt) ?? [:],
      ]
    }
    return Page(
      title: "Settings", template: "settings", values: values, active: "settings",
      project: project, scripts: ["retention.js"])
  }
}
