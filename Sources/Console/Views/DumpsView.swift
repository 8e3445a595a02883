import APITypes
import Foundation

/// A dump as its list is shown; fields that a later version adds are passed over.
private struct ShownDump: Decodable {
  struct Progress: Decodable {
    var bytes: Int
    var tablesDone: Int
    var tablesTotal: Int
    enum CodingKeys: String, CodingKey {
      case bytes
      case tablesDone = "tables_done"
      case tablesTotal = "tables_total"
    }
  }
  struct Verification: Decodable {
    var status: String
    var tables: Int
    var rows: Int
    var differences: [String]
  }

  var id: String
  var branchID: String
  var database: String
  var format: String
  var lsn: String
  var status: String
  var error: String?
  var progress: Progress?
  var sizeBytes: Int?
  var fileName: String?
  var verification: Verification?
  var createdAt: Date?
  var expiresAt: Date?

  enum CodingKeys: String, CodingKey {
    case id, database, format, lsn, status, error, progress, verification
    case branchID = "branch_id"
    case sizeBytes = "size_bytes"
    case fileName = "file_name"
    case createdAt = "created_at"
    case expiresAt = "expires_at"
  }
}

private struct ShownDumps: Decodable {
  var dumps: [ShownDump]
}

extension Console {
  /// The project's dumps; where this installation has none of them, the API's words.
  func dumps(_ place: ProjectPlace) async -> [String: Any] {
    do {
      let list: ShownDumps = try await place.context.get(place.path("dumps"))
      return ["list": list.dumps.map { Self.row($0, place) }, "isEmpty": list.dumps.isEmpty]
    } catch let error as PageError {
      let text =
        error.code == "route_not_found"
        ? "This version of Exzo makes no dumps of its own; pg_dump works with the connection string."
        : error.message
      return ["problem": text]
    } catch {
      return ["problem": "The list of dumps cannot be read: \(error)"]
    }
  }

  private static func row(_ dump: ShownDump, _ place: ProjectPlace) -> [String: Any] {
    let state: String =
      switch dump.status {
      case "finished": "good"
      case "failed": "bad"
      case "queued", "running", "verifying": "busy"
      default: "quiet"
      }
    var values: [String: Any] = [
      "id": dump.id, "project": place.project.id, "database": dump.database,
      "branch": place.branchName(dump.branchID) ?? dump.branchID, "branchID": dump.branchID,
      "format": dump.format, "status": dump.status, "state": state, "lsn": dump.lsn,
      "size": dump.sizeBytes.map(Format.bytes) ?? "", "error": dump.error ?? "",
      "isBusy": state == "busy", "isReady": state == "good",
      "done": dump.progress?.tablesDone ?? 0, "total": max(dump.progress?.tablesTotal ?? 0, 1),
      "verified": dump.verification.map {
        $0.status == "passed"
          ? "\(Format.number($0.tables)) tables and \(Format.number($0.rows)) rows equal"
          : "\($0.status): \($0.differences.first ?? "")"
      } ?? "not verified", "isVerified": dump.verification?.status == "passed",
    ]
    values["created"] = Format.time(dump.createdAt)
    values["expires"] = Format.time(dump.expiresAt)
    return values
  }

  /// Restore drills, where this installation makes them.
  func drills(_ place: ProjectPlace) async -> [String: Any] {
    struct Drill: Decodable {
      var id: String
      var status: String
      var lsn: String?
      var durationMilliseconds: Int?
      var objectiveMilliseconds: Int?
      var error: String?
      var createdAt: Date?
      enum CodingKeys: String, CodingKey {
        case id, status, lsn, error
        case durationMilliseconds = "duration_milliseconds"
        case objectiveMilliseconds = "objective_milliseconds"
        case createdAt = "created_at"
      }
    }
    struct Drills: Decodable { var drills: [Drill] }
    do {
      let list: Drills = try await place.context.get(place.path("drills"))
      return [
        "list": list.drills.map { drill in
          var values: [String: Any] = [
            "status": drill.status, "state": drill.status == "passed" ? "good" : "bad",
            "lsn": drill.lsn ?? "", "error": drill.error ?? "",
            "took": drill.durationMilliseconds.map { "\($0) ms" } ?? "",
            "objective": drill.objectiveMilliseconds.map { "\($0) ms" } ?? "",
          ]
          values["created"] = Format.time(drill.createdAt)
          return values
        }, "isEmpty": list.drills.isEmpty,
      ]
    } catch let error as PageError where error.code == "route_not_found" {
      return ["problem": "This version of Exzo makes no restore drills yet."]
    } catch {
      return ["problem": "The list of drills cannot be read."]
    }
  }
}
