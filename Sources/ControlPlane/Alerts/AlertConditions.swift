import APITypes
import Catalog
import Foundation

/// Something that is wrong now.
struct AlertCondition: Sendable, Hashable {
  var kind: API.AlertKind
  /// Tells it from others of its kind.
  var subject: String
  var projectID: ProjectID?
  var message: String
  var hint: String
}

/// Looks at everything that may be wrong.
struct AlertConditions: Sendable {
  let core: Core

  /// How long after it was due a backup that has not run is missed; seconds.
  private static let missedAfter: TimeInterval = 900

  private var settings: AlertSettings { core.settings.alerts }

  func now() async throws -> [AlertCondition] {
    let health = await core.fleet.health()
    let (open, followed) = try await core.catalog.read { tx in
      (try tx.openAlerts(), Set(try tx.liveAttachments().map(\.lineID.rawValue)))
    }
    let (attached, lost) = try await AttachmentConditions(core: core).now(open: open)
    var running = health
    // Told once, in the words of the attachment.
    running.computes.removeAll { lost.contains($0.lineID) }
    for index in running.computes.indices
    where followed.contains(running.computes[index].lineID) {
      // What a standby of ours keeps from one restartpoint to the next is held by no slot.
      running.computes[index].walBytes = 0
    }
    return try await backups() + expiries() + ProofConditions(core: core).now() + attached
      + computes(running) + machine(health)
      + stores(health, open: open)
  }

  private func backups() async throws -> [AlertCondition] {
    let now = core.clock.now
    let (failing, overdue) = try await core.catalog.read { tx in
      (
        try tx.failingScheduleItems(),
        try tx.overdueScheduleItems(before: now.addingTimeInterval(-Self.missedAfter))
      )
    }
    return failing.map { item in
      AlertCondition(
        kind: .backupFailed, subject: item.id.rawValue, projectID: item.projectID,
        message: "the \(item.frequency) \(item.kind) of branch '\(item.branchID)' failed "
          + "\(item.failuresCount) times: \(item.lastRunError ?? "")",
        hint: "it is tried again by itself; 'exzo schedule' shows when")
    }
      + overdue.map { item in
        AlertCondition(
          kind: .backupMissed, subject: item.id.rawValue, projectID: item.projectID,
          message: "the \(item.frequency) \(item.kind) of branch '\(item.branchID)' was due at "
            + "\(RFC3339.text(item.nextRunAt)) and has not run",
          hint: "look whether other backups take too long, or serve cannot work: its log says")
      }
  }

  private func expiries() async throws -> [AlertCondition] {
    let now = core.clock.now
    return try await core.catalog.read { tx in
      try tx.waitingBranches(at: now).compactMap { branch in
        guard let child = try tx.children(of: branch.id).first, let time = branch.expiresAt else {
          return nil
        }
        return AlertCondition(
          kind: .branchNotExpired, subject: branch.id.rawValue, projectID: branch.projectID,
          message: "branch '\(branch.name)' of project '\(branch.projectID)' expired at "
            + "\(RFC3339.text(time)) and is still there: branch '\(child.name)' is its child",
          hint: "it goes when its children are gone: delete them, or give them an expiry, too")
      }
    }
  }

  /// Names of branches by the lines that computes write.
  private func branches(_ computes: [FleetHealth.Compute]) async throws -> [String: String] {
    guard !computes.isEmpty else { return [:] }
    return try await core.catalog.read { tx in
      var names: [String: String] = [:]
      for project in Set(computes.map(\.projectID)) {
        for branch in try tx.branches(of: ProjectID(project)) {
          names[branch.lineID.rawValue] = branch.name
        }
      }
      return names
    }
  }

  private func computes(_ health: FleetHealth) async throws -> [AlertCondition] {
    let unwell = health.computes.filter {
      $0.exposureSeconds > settings.captureLag || $0.walBytes > settings.walBytes
        || !$0.alarms.isEmpty
    }
    let names = try await branches(unwell)
    return unwell.flatMap { compute -> [AlertCondition] in
      let project = ProjectID(compute.projectID)
      let place =
        (names[compute.lineID].map { "branch '\($0)' of project '\(project)'" }
          ?? "project '\(project)'") + " (line '\(compute.lineID)')"
      var found: [AlertCondition] = []
      if compute.exposureSeconds > settings.captureLag {
        found.append(
          AlertCondition(
            kind: .captureLag, subject: compute.lineID, projectID: project,
            message: "commits of the last \(Int(compute.exposureSeconds)) s of \(place) "
              + "are on this machine only",
            hint: "look whether the object store answers: 'exzo store speed'; where credentials "
              + "were renewed restart serve, then the compute: 'exzo endpoints restart ID'"))
      }
      if compute.walBytes > settings.walBytes {
        found.append(
          AlertCondition(
            kind: .slotGrowth, subject: compute.lineID, projectID: project,
            message: "\(compute.walBytes) bytes of WAL are kept for \(place)",
            hint: "a replication slot holds them: pg_replication_slots tells whose; drop one that "
              + "nobody reads"))
      }
      if let alarm = compute.alarms.first {
        found.append(
          AlertCondition(
            kind: .computeAlarm, subject: compute.lineID, projectID: project,
            message: "the compute of \(place) reports: \(alarm)",
            hint: "its log is agent.log in the line's directory"))
      }
      return found
    }
  }

  private func machine(_ health: FleetHealth) -> [AlertCondition] {
    guard let free = health.freeBytes, free < settings.freeBytes else { return [] }
    return [
      AlertCondition(
        kind: .lowDisk, subject: "data directory", projectID: nil,
        message:
          "\(free) bytes are free where the data directory is, \(settings.freeBytes) are the "
          + "least that is well",
        hint: "make room: a full disk stops computes")
    ]
  }

  private func stores(_ health: FleetHealth, open: [AlertRecord]) -> [AlertCondition] {
    var found: [AlertCondition] = []
    if let status = core.journal?.status, let age = status.exposure,
      age / .seconds(1) > settings.storeSilence
    {
      found.append(
        AlertCondition(
          kind: .storeUnreachable, subject: "object store", projectID: nil,
          message: "the object store has not taken the catalog for \(age.components.seconds) s: "
            + (status.failure ?? "no answer"),
          hint: "what is changed meanwhile is on this machine only"))
    }
    if let mirror = health.mirror, let condition = behind(mirror, open: open) {
      found.append(condition)
    }
    return found
  }

  /// A copy that is behind, or that fails for as long: it may hold all but what is damaged.
  private func behind(_ mirror: FleetHealth.Mirror, open: [AlertRecord]) -> AlertCondition? {
    let (subject, now) = ("second store", core.clock.now)
    core.mirrorFailures.note(mirror.failure, of: subject, at: now)
    let failing = core.mirrorFailures[subject].map { now.timeIntervalSince($0.since) }
    // What was told of before serve began anew is not over while it fails.
    let isTold = open.contains { $0.kind == API.AlertKind.mirrorLag.rawValue }
    let state: String
    if let lag = mirror.lag, lag > settings.mirrorLag {
      state = "is \(Int(lag)) s behind"
    } else if mirror.lag == nil, failing != nil {
      state = "was never complete"
    } else if let failing, failing > settings.mirrorLag || isTold {
      state = "has not been copied to without failures for \(Int(failing)) s"
    } else {
      return nil
    }
    return AlertCondition(
      kind: .mirrorLag, subject: subject, projectID: nil,
      message: "the second store \(state), \(mirror.missingObjects) objects are missing"
        + (mirror.failure.map { ": \($0)" } ?? ""),
      hint: "'exzo store mirror-status' says what it lacks")
  }
}
