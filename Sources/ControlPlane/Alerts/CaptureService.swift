import APITypes
import Catalog

/// How far what computes write is from the object store.
public struct CaptureService: Sendable {
  let core: Core

  /// Of a project's running computes, ordered by branch.
  public func status(
    project: ProjectID, account: AccountID
  ) async throws -> API.CaptureResponse {
    let computes = try await core.catalog.read { tx -> [ComputeRecord] in
      let project = try core.project(tx, project, of: account)
      return try tx.branches(of: project.id).flatMap { try tx.endpoints(of: $0.id) }
        .compactMap { try tx.compute(of: $0.id) }
    }
    let health = await core.fleet.health().computes.filter { $0.projectID == project.rawValue }
    let byLine = Dictionary(health.map { ($0.lineID, $0) }) { $1 }
    let found = computes.compactMap { compute -> API.CaptureStatus? in
      byLine[compute.lineID.rawValue].map {
        API.CaptureStatus(
          branchID: compute.branchID.rawValue, endpointID: compute.endpointID?.rawValue,
          lagSeconds: $0.exposureSeconds, walBytes: Int(clamping: $0.walBytes), alarms: $0.alarms)
      }
    }
    return API.CaptureResponse(
      capture: found.sorted { $0.branchID < $1.branchID },
      alertSeconds: core.settings.alerts.captureLag)
  }
}
