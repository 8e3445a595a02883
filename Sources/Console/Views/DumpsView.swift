import APITypes
import Foundation

extension Console {
  /// The project's dumps, newest first.
  func dumps(_ place: ProjectPlace) async throws -> [String: Any] {
    let list: API.DumpsResponse = try await place.context.get(
      place.path("dumps"), ["limit": "100"])
    return ["list": list.dumps.map { Self.row($0, place) }, "isEmpty": list.dumps.isEmpty]
  }

  private static func row(_ dump: API.Dump, _ place: ProjectPlace) -> [String: Any] {
    let state: String =
      switch dump.status {
      case .finished: "good"
      case .failed: "bad"
      case .queued, .running, .verifying: "busy"
      case .cancelled: "quiet"
      }
    var values: [String: Any] = [
      "id": dump.id, "project": place.project.id, "database": dump.database,
      "branch": place.branchName(dump.branchID) ?? dump.branchID, "branchID": dump.branchID,
      "format": dump.format.rawValue, "status": dump.status.rawValue, "state": state,
      "lsn": dump.lsn, "size": dump.sizeBytes.map(Format.bytes) ?? "", "error": dump.error ?? "",
      "isBusy": state == "busy", "isReady": state == "good", "isManual": dump.manual,
      "done": dump.progress.tablesDone, "total": max(dump.progress.tablesTotal, 1),
      "verified": verdict(dump), "isVerified": dump.verification?.status == .passed,
    ]
    values["created"] = Format.time(dump.createdAt)
    values["expires"] = Format.time(dump.expiresAt)
    return values
  }

  private static func verdict(_ dump: API.Dump) -> String {
    guard let found = dump.verification else { return "not verified" }
    guard found.status == .passed else {
      return "\(found.status.rawValue): \(found.differences.first ?? found.notes.first ?? "")"
    }
    return "\(Format.number(found.tables)) tables, \(Format.number(found.rows)) rows equal"
  }

  /// What of running computes is not in the object store yet.
  func capture(_ place: ProjectPlace) async throws -> [String: Any] {
    let answer: API.CaptureResponse = try await place.context.get(place.path("capture"))
    return [
      "list": answer.capture.map { one in
        let isLate = one.lagSeconds >= answer.alertSeconds
        return [
          "branch": place.branchName(one.branchID) ?? one.branchID,
          "lag": one.lagSeconds < 0.05 ? "none" : Format.lag(seconds: one.lagSeconds),
          "state": isLate || !one.alarms.isEmpty ? "bad" : "good",
          "word": isLate ? "behind" : one.alarms.isEmpty ? "safe" : "complains",
          "wal": Format.bytes(one.walBytes), "alarms": one.alarms.joined(separator: "; "),
        ] as [String: Any]
      }, "isEmpty": answer.capture.isEmpty,
      "limit": Format.duration(seconds: Int(answer.alertSeconds)),
    ]
  }

  /// Restore drills, newest first.
  func drills(_ place: ProjectPlace) async throws -> [String: Any] {
    let list: API.DrillListResponse = try await place.context.get(
      place.path("drills"), ["limit": "20"])
    return [
      "list": list.drills.map { drill in
        var values: [String: Any] = [
          "status": drill.status.rawValue, "state": Self.state(drill.status),
          "branch": place.branchName(drill.branchID) ?? "", "lsn": drill.lsn ?? "",
          "error": drill.error ?? "",
          "took": drill.millisecondsToOpen.map { "\(Format.number($0)) ms" } ?? "",
          "objective": drill.objectiveMilliseconds.map { "\(Format.number($0)) ms" } ?? "",
          "rows": drill.rows.map(Format.number) ?? "",
        ]
        values["created"] = Format.time(drill.createdAt)
        return values
      }, "isEmpty": list.drills.isEmpty,
    ]
  }

  /// Checks of what the store holds of the project, newest first.
  func verifications(_ place: ProjectPlace) async throws -> [String: Any] {
    let list: API.VerificationListResponse = try await place.context.get(
      place.path("verifications"), ["limit": "10"])
    return [
      "list": list.verifications.map { check in
        var values: [String: Any] = [
          "status": check.status.rawValue, "state": Self.state(check.status),
          "objects": Format.number(check.objects), "bytes": Format.bytes(check.bytes),
          "problem": check.error ?? check.problems.first ?? "",
        ]
        values["created"] = Format.time(check.createdAt)
        return values
      }, "isEmpty": list.verifications.isEmpty,
    ]
  }

  private static func state(_ status: API.ProofStatus) -> String {
    switch status {
    case .passed: "good"
    case .scheduled, .running: "busy"
    case .failed, .error: "bad"
    }
  }

  /// Alerts that are open: of this project, and of the installation; the operator sees them.
  func alerts(_ place: ProjectPlace) async throws -> [[String: Any]] {
    guard place.context.session.caller.account.isAdmin else { return [] }
    let list: API.AlertListResponse = try await place.context.get(["alerts"], ["limit": "50"])
    return list.alerts.filter {
      $0.resolvedAt == nil && ($0.projectID == nil || $0.projectID == place.project.id)
    }.map { alert in
      var values: [String: Any] = [
        "kind": Format.words(alert.kind.rawValue), "message": alert.message, "hint": alert.hint,
      ]
      values["created"] = Format.time(alert.createdAt)
      return values
    }
  }
}
