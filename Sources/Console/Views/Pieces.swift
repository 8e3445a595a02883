import APITypes
import Foundation

/// What several pages show alike.
enum Pieces {
  static func operation(_ operation: API.Operation, _ place: ProjectPlace) -> [String: Any] {
    let state: String =
      switch operation.status {
      case .finished: "good"
      case .failed, .error: "bad"
      case .scheduling, .running, .cancelling: "busy"
      default: "quiet"
      }
    var values: [String: Any] = [
      "id": operation.id, "title": Format.words(operation.kind ?? operation.action.rawValue),
      "state": state, "status": operation.status.rawValue,
      "branch": place.branchName(operation.branchID) ?? "",
      "duration": operation.totalDurationMilliseconds < 10_000
        ? "\(operation.totalDurationMilliseconds) ms"
        : Format.duration(seconds: operation.totalDurationMilliseconds / 1000),
      "error": operation.error ?? "", "isBusy": state == "busy",
      "isFailed": state == "bad", "failures": operation.failuresCount,
    ]
    values["created"] = Format.time(operation.createdAt)
    return values
  }

  static func compute(_ endpoint: API.Endpoint?, project: String) -> [String: Any] {
    guard let endpoint else {
      return ["hasCompute": false, "state": "quiet", "text": "no compute"]
    }
    let (state, text): (String, String)
    switch (endpoint.currentState, endpoint.pendingState) {
    case (_, .active?) where endpoint.currentState != .active: (state, text) = ("busy", "starting")
    case (_, .idle?) where endpoint.currentState != .idle: (state, text) = ("busy", "suspending")
    case (.active, _): (state, text) = ("good", "running")
    case (.idle, _): (state, text) = ("quiet", "suspended")
    default: (state, text) = ("busy", "being made")
    }
    var values: [String: Any] = [
      "hasCompute": true, "state": state, "text": text, "id": endpoint.id, "project": project,
      "host": endpoint.host, "isRunning": endpoint.currentState == .active,
      "isIdle": endpoint.currentState == .idle,
      "size": "\(trimmed(endpoint.autoscalingLimitMaxCU))",
      "suspend": endpoint.suspendTimeoutSeconds,
      "suspendText": endpoint.suspendTimeoutSeconds < 0
        ? "never"
        : Format.duration(
          seconds: endpoint.suspendTimeoutSeconds == 0
            ? 300 : endpoint.suspendTimeoutSeconds),
    ]
    values["lastActive"] = Format.time(endpoint.lastActive)
    return values
  }

  static func trimmed(_ value: Double) -> String {
    value == value.rounded() ? String(Int(value)) : String(value)
  }

  static func branch(_ branch: API.Branch, _ place: ProjectPlace) -> [String: Any] {
    var values: [String: Any] = [
      "id": branch.id, "name": branch.name, "project": place.project.id,
      "isDefault": branch.isDefault, "isProtected": branch.isProtected,
      "size": branch.logicalSize.map(Format.bytes) ?? "", "parent": "", "parentID": "",
      "written": Format.bytes(branch.writtenDataBytes),
      "transfer": Format.bytes(branch.dataTransferBytes),
      "isReady": branch.currentState == .ready,
      "compute": compute(place.endpoint(of: branch.id), project: place.project.id),
      "restoredNote": branch.restoreStatus ?? "",
    ]
    if let parent = branch.parentID {
      values["parent"] = place.branchName(parent) ?? parent
      values["parentID"] = parent
    }
    values["parentLSN"] = branch.parentLSN ?? ""
    values["created"] = Format.time(branch.createdAt)
    values["expires"] = Format.time(branch.expiresAt)
    values["parentTime"] = Format.time(branch.parentTimestamp)
    return values
  }

  static func option(_ value: String, _ label: String, chosen: String?) -> [String: Any] {
    ["value": value, "label": label, "on": value == chosen]
  }
}
