import APITypes
import Catalog
import ControlPlane
import Foundation

extension RouteTable {
  private static let branch = "/projects/{project_id}/branches/{branch_id}"
  private static let snapshot = "/projects/{project_id}/snapshots/{snapshot_id}"

  /// Restore in place, recovery, snapshots and backup schedules.
  static func restores(_ plane: ControlPlane) -> [Route] {
    branchRestores(plane) + recoveries(plane) + snapshotLists(plane) + oneSnapshot(plane)
      + schedules(plane)
  }

  private static func branchRestores(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "POST", "\(branch)/restore", "restoreProjectBranch",
        "Puts a branch, in place, into the state of a moment", body: API.BranchRestoreRequest.self
      ) { request in
        try await plane.branches.restore(
          request.branch, try request.decode(), project: request.project, account: request.account)
      },
      Route(
        "POST", "\(branch)/finalize_restore", "finalizeRestoreBranch",
        "Lets a branch made from a snapshot take the place of the one it restores",
        body: API.FinalizeRestoreRequest.self, isBodyRequired: false
      ) { request in
        let body =
          request.body.isEmpty
          ? API.FinalizeRestoreRequest() : try request.decode(API.FinalizeRestoreRequest.self)
        return API.OperationsResponse(
          operations: try await plane.branches.finalizeRestore(
            request.branch, name: body.name, force: body.force, project: request.project,
            account: request.account))
      },
    ]
  }

  private static func recoveries(_ plane: ControlPlane) -> [Route] {
    [
      Route("POST", "\(branch)/recover", "recoverProjectBranch", "Brings a deleted branch back") {
        request in
        try await plane.branches.recover(
          request.branch, project: request.project, account: request.account)
      },
      Route(
        "POST", "/projects/{project_id}/recover", "recoverProject", "Brings a deleted project back"
      ) { request in
        try await plane.projects.recover(request.project, account: request.account)
      },
    ]
  }

  private static func snapshotLists(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "POST", "\(branch)/snapshot", "createSnapshot", "Keeps a moment of a branch under a name",
        query: [.text("lsn"), .text("timestamp"), .text("name"), .text("expires_at")]
      ) { request in
        try await plane.snapshots.create(
          SnapshotService.Request(
            lsn: request.query["lsn"], time: try request.query.time("timestamp"),
            name: request.query["name"], expiresAt: try request.query.time("expires_at")),
          branch: request.branch, project: request.project, account: request.account)
      },
      Route("GET", "/projects/{project_id}/snapshots", "listSnapshots", "Lists snapshots") {
        request in
        API.SnapshotsResponse(
          snapshots: try await plane.snapshots.list(
            project: request.project, account: request.account))
      },
    ]
  }

  private static func oneSnapshot(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "PATCH", snapshot, "updateSnapshot", "Renames or dates a snapshot",
        body: API.SnapshotUpdateRequest.self
      ) { request in
        let body = try request.decode(API.SnapshotUpdateRequest.self)
        return API.SnapshotResponse(
          snapshot: try await plane.snapshots.update(
            request.snapshot, body.snapshot, project: request.project, account: request.account))
      },
      Route("DELETE", snapshot, "deleteSnapshot", "Deletes a snapshot", status: 202) { request in
        API.OperationsResponse(
          operations: try await plane.snapshots.delete(
            request.snapshot, project: request.project, account: request.account))
      },
      Route(
        "POST", "\(snapshot)/restore", "restoreSnapshot",
        "Makes a branch of a snapshot, or puts it in another branch's place",
        query: [.text("name")], body: API.SnapshotRestoreRequest.self, isBodyRequired: false
      ) { request in
        var body =
          request.body.isEmpty
          ? API.SnapshotRestoreRequest() : try request.decode(API.SnapshotRestoreRequest.self)
        body.name = body.name ?? request.query["name"]
        return try await plane.snapshots.restore(
          request.snapshot, body, project: request.project, account: request.account)
      },
    ]
  }

  private static func schedules(_ plane: ControlPlane) -> [Route] {
    [
      Route(
        "GET", "\(branch)/backup_schedule", "getSnapshotSchedule",
        "Shows a branch's backup schedule"
      ) { request in
        try await plane.schedules.get(
          branch: request.branch, project: request.project, account: request.account)
      },
      Route(
        "PUT", "\(branch)/backup_schedule", "setSnapshotSchedule",
        "Replaces a branch's backup schedule", body: API.BackupSchedule.self
      ) { request in
        try await plane.schedules.set(
          try request.decode(), branch: request.branch, project: request.project,
          account: request.account)
        return API.EmptyResponse()
      },
      Route(
        "POST", "\(branch)/backup_schedule/items", "addScheduleItem",
        "Adds an item to a branch's backup schedule; the others stay",
        body: API.BackupScheduleItem.self, status: 201
      ) { request in
        try await plane.schedules.add(
          try request.decode(), branch: request.branch, project: request.project,
          account: request.account)
      },
      Route(
        "DELETE", "\(branch)/backup_schedule/items/{item_id}", "removeScheduleItem",
        "Removes an item of a branch's backup schedule; the others stay"
      ) { request in
        try await plane.schedules.remove(
          ScheduleItemID(request.parameters["item_id"] ?? ""), branch: request.branch,
          project: request.project, account: request.account)
      },
    ]
  }
}

extension APIRequest {
  var snapshot: SnapshotID { SnapshotID(parameters["snapshot_id"] ?? "") }
}
