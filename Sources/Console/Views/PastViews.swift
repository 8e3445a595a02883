import APITypes
import Foundation

extension Console {
  /// The timeline itself is drawn by a script from the API's answer.
  func timeline(_ place: ProjectPlace, _ id: String) async throws -> Page {
    let answer: API.BranchResponse = try await place.context.get(place.path("branches", id))
    let branch = answer.branch
    let tenants = try await Tenants(place, branch.id)
    let role = tenants.role(nil)
    var values: [String: Any] = [
      "id": place.project.id, "branch": branch.id, "branchName": branch.name,
      "isProtected": branch.isProtected,
      "branchOptions": place.branchOptions(chosen: branch.id),
      "databaseOptions": tenants.databases.map { Pieces.option($0, $0, chosen: nil) },
      "roleOptions": tenants.roles.map { Pieces.option($0, $0, chosen: role) },
      "stamp": String(RFC3339.text(plane.now).prefix(16).filter { $0.isNumber }),
      "lsn": place.context.query["lsn"] ?? "",
    ]
    values["window"] = branch.restoreWindow.map { window in
      [
        "from": Format.time(window.earliestTimestamp) ?? [:],
        "length": Format.duration(
          seconds: Int(window.latestTimestamp.timeIntervalSince(window.earliestTimestamp))),
      ]
    }
    return Page(
      title: "Timeline of \(branch.name)", template: "timeline", values: values, active: "timeline",
      project: place.project, scripts: ["timeline.js", "past.js"])
  }

  func sqlEditor(_ place: ProjectPlace) async throws -> Page {
    guard let branch = place.chosenBranch else {
      throw PageError(status: 404, message: "the project has no branch", code: "")
    }
    let tenants = try await Tenants(place, branch.id)
    let query = place.context.query
    return Page(
      title: "SQL editor", template: "sql",
      values: [
        "id": place.project.id, "branch": branch.id,
        "branchOptions": place.branchOptions(chosen: branch.id),
        "databaseOptions": tenants.databases.map {
          Pieces.option($0, $0, chosen: tenants.database(query["database"]))
        },
        "roleOptions": tenants.roles.map {
          Pieces.option($0, $0, chosen: tenants.role(query["role"]))
        },
        "lsn": query["lsn"] ?? "", "time": query["time"] ?? "", "sql": query["sql"] ?? "",
        "isPast": query["lsn"]?.isEmpty == false || query["time"]?.isEmpty == false,
      ], active: "sql", project: place.project, scripts: ["sql.js", "plan.js"])
  }

  func backups(_ place: ProjectPlace) async throws -> Page {
    guard let branch = place.chosenBranch else {
      throw PageError(status: 404, message: "the project has no branch", code: "")
    }
    let snapshots: API.SnapshotsResponse = try await place.context.get(place.path("snapshots"))
    let schedule: API.BackupSchedule = try await place.context.get(
      place.path("branches", branch.id, "backup_schedule"))
    let values: [String: Any] = [
      "id": place.project.id, "branch": branch.id, "branchName": branch.name,
      "branchOptions": place.branchOptions(chosen: branch.id),
      "snapshots": snapshots.snapshots.map { Self.snapshot($0, place) },
      "hasSnapshots": !snapshots.snapshots.isEmpty,
      "schedule": schedule.schedule.map(Self.item), "hasSchedule": !schedule.schedule.isEmpty,
      "scheduleJSON": String(
        decoding: try APICoding.encode(schedule.schedule.map(Self.stored)), as: UTF8.self),
      "drills": try await drills(place), "dumps": try await dumps(place),
      "checks": try await verifications(place), "alerts": try await alerts(place),
      "capture": try await capture(place),
    ]
    return Page(
      title: "Backups", template: "backups", values: values, active: "backups",
      project: place.project, scripts: ["schedule.js"])
  }

  private static func snapshot(_ snapshot: API.Snapshot, _ place: ProjectPlace) -> [String: Any] {
    var values: [String: Any] = [
      "id": snapshot.id, "name": snapshot.name, "project": place.project.id,
      "branch": place.branchName(snapshot.sourceBranchID) ?? "", "lsn": snapshot.lsn ?? "",
      "source": snapshot.sourceBranchID ?? "",
      "size": snapshot.fullSize.map(Format.bytes) ?? "", "isManual": snapshot.manual == true,
    ]
    values["moment"] = Format.time(snapshot.timestamp ?? snapshot.createdAt)
    values["expires"] = Format.time(snapshot.expiresAt)
    return values
  }

  /// As `POST …/backup_schedule/items` takes it, and its id.
  private static func stored(_ item: API.BackupScheduleItem) -> API.BackupScheduleItem {
    var plain = item
    (plain.nextRunAt, plain.lastRunAt, plain.lastRunFor) = (nil, nil, nil)
    (plain.lastRunStatus, plain.lastRunError, plain.retryAt) = (nil, nil, nil)
    return plain
  }

  private static func item(_ item: API.BackupScheduleItem) -> [String: Any] {
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    let zone = item.timeZone ?? "UTC"
    let hour = item.hour.map { String(format: "%02d:00", $0) } ?? "00:00"
    let text: String
    switch item.frequency {
    case .hourly: text = "every hour"
    case .daily: text = "every day at \(hour) \(zone)"
    case .weekly:
      let day = item.day.map { days[min(max($0, 1), 7) - 1] } ?? "Monday"
      text = "every \(day) at \(hour) \(zone)"
    case .monthly: text = "on day \(item.day ?? 1) of each month at \(hour) \(zone)"
    case .yearly: text = "on day \(item.day ?? 1) of month \(item.month ?? 1) at \(hour) \(zone)"
    }
    var values: [String: Any] = [
      "text": text, "kind": item.kind?.rawValue ?? "snapshot",
      "keeps": item.retentionSeconds.map { "kept \(Format.duration(seconds: $0))" }
        ?? "kept for good", "status": item.lastRunStatus?.rawValue ?? "",
      "isFailing": item.lastRunStatus == .failed, "error": item.lastRunError ?? "",
    ]
    values["next"] = Format.time(item.nextRunAt)
    values["last"] = Format.time(item.lastRunAt)
    return values
  }

  func monitoring(_ place: ProjectPlace) async throws -> Page {
    let gauges = try await plane.gauges()
    let isAdmin = place.context.session.caller.account.isAdmin
    var values: [String: Any] = [
      "id": place.project.id, "isAdmin": isAdmin,
      "computes": place.branches.map { Pieces.branch($0, place) },
      "capture": try await capture(place),
      "gauges": !isAdmin
        ? []
        : gauges.flatMap { gauge in
          gauge.values.map { value, number in
            ["name": gauge.name, "label": value, "number": Format.number(number)] as [String: Any]
          }
        },
    ]
    let days: API.ProjectConsumptionResponse<API.ConsumptionFrame> = try await place.context.get(
      ["consumption_history", "projects"],
      Self.range(of: place.context, granularity: "hourly", hours: 24, now: plane.now).merging([
        "project_ids": place.project.id
      ]) { $1 })
    let frames = days.projects.first?.periods.flatMap(\.consumption) ?? []
    values["charts"] = Self.charts(frames, isHourly: true)
    return Page(
      title: "Monitoring", template: "monitoring", values: values, active: "monitoring",
      project: place.project)
  }
}
