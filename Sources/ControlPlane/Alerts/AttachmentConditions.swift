import APITypes
import Catalog
import Foundation
import PostgresFormat

/// What may be wrong with servers that live elsewhere.
struct AttachmentConditions: Sendable {
  let core: Core

  /// An attachment, and what of its branch an alert tells.
  private struct Subject: Sendable {
    var record: AttachmentRecord
    /// The branch's name.
    var branch: String
    /// Whether the branch still holds what the server wrote.
    var isHeld: Bool
    /// Whether the server was copied whole.
    var isCopied: Bool

    var server: String {
      "server '\(record.host):\(record.port)' of branch '\(branch)' of project "
        + "'\(record.projectID)'"
    }
  }

  /// What is wrong, and the lines that are not followed any more.
  /// - Parameter open: what is told of already.
  func now(open: [AlertRecord]) async throws -> ([AlertCondition], lost: Set<String>) {
    let subjects = try await core.catalog.read { try Self.subjects($0) }
    var found: [AlertCondition] = []
    var lost: Set<String> = []
    for subject in subjects {
      let line = subject.record.lineID.rawValue
      guard subject.record.status == .following else {
        lost.insert(line)
        found.append(over(subject))
        continue
      }
      guard let status = await core.fleet.followStatus(line: line) else {
        found += notBegun(subject, open: open)
        continue
      }
      if status.phase == .failed { lost.insert(line) }
      if let condition = condition(subject, status) { found.append(condition) }
      if let condition = growth(subject.record, status) { found.append(condition) }
    }
    return (found, lost)
  }

  /// Those that are followed, and those that should be and are not.
  private static func subjects(_ tx: CatalogTransaction) throws -> [Subject] {
    let failed = try tx.attachments(in: .failed).filter {
      try tx.project($0.projectID)?.deletedAt == nil
    }
    return try (tx.attachments(in: .following) + failed).map { record in
      let branch = try tx.branch(record.branchID)
      return Subject(
        record: record, branch: branch?.name ?? record.branchID.rawValue,
        isHeld: branch?.lineID == record.lineID,
        isCopied: try tx.line(record.lineID)?.isOpened == true)
    }
  }

  /// Nothing follows, and nothing will by itself.
  private func over(_ subject: Subject) -> AlertCondition {
    let way =
      switch (subject.isHeld, subject.isCopied) {
      case (false, _): "'exzo detach' drops the slot"
      case (true, false): "'exzo attach update URI' begins the copy anew; 'exzo detach' gives it up"
      case (true, true): "'exzo attach update URI' goes on following; 'exzo detach' ends it"
      }
    let record = subject.record
    return AlertCondition(
      kind: .attachmentFailed, subject: record.lineID.rawValue, projectID: record.projectID,
      message: "\(subject.server) is not followed: \(record.error ?? "no reason was given")",
      hint: "\(way), with --keep-slot where the server is gone; until then what is written there "
        + "has no history here, and slot '\(record.slot)' may keep WAL there")
  }

  /// What follows has ended and is to begin again, which takes seconds; it is wrong where it cannot for longer. What was
  /// told of the line before is not over meanwhile.
  private func notBegun(_ subject: Subject, open: [AlertRecord]) -> [AlertCondition] {
    let (record, line) = (subject.record, subject.record.lineID.rawValue)
    let trouble = core.notFollowed[line]
    let ofLine: [API.AlertKind] = [.attachmentFailed, .sourceAway, .slotGrowth]
    var kinds = ofLine.filter { kind in
      open.contains { $0.kind == kind.rawValue && $0.subject == line }
    }
    if kinds.isEmpty, let trouble,
      core.clock.now.timeIntervalSince(trouble.since) > core.settings.alerts.sourceAway
    {
      kinds = [.attachmentFailed]
    }
    return kinds.map { kind in
      AlertCondition(
        kind: kind, subject: line, projectID: record.projectID,
        message: "\(subject.server) is not followed: what follows it does not start: "
          + (trouble?.reason ?? "no reason was given"),
        hint: "it is tried again every few seconds; meanwhile what is written there has no history "
          + "here, and slot '\(record.slot)' keeps WAL there: the server's disk may fill")
    }
  }

  private func condition(_ subject: Subject, _ status: FollowStatus) -> AlertCondition? {
    let record = subject.record
    if status.phase == .failed {
      return AlertCondition(
        kind: .attachmentFailed, subject: record.lineID.rawValue, projectID: record.projectID,
        message: "\(subject.server) is not followed any more: "
          + (status.failure ?? "no reason was given"),
        hint:
          "what is written there from now on has no history here; 'exzo attach status' says more")
    }
    guard let away = status.awaySeconds, away > core.settings.alerts.sourceAway else { return nil }
    return AlertCondition(
      kind: .sourceAway, subject: record.lineID.rawValue, projectID: record.projectID,
      message: "\(subject.server) has not been reached for \(Int(away)) s: "
        + (status.trouble ?? "no answer"),
      hint:
        "slot '\(record.slot)' keeps WAL there meanwhile: the server's disk may fill; if it is gone for "
        + "good, 'exzo detach --keep-slot'")
  }

  /// The WAL that our slot keeps on the server, as far as it was heard of.
  private func growth(_ record: AttachmentRecord, _ status: FollowStatus) -> AlertCondition? {
    guard status.phase == .following, status.sourceLSN > status.uploadedLSN,
      status.sourceLSN - status.uploadedLSN > core.settings.alerts.walBytes
    else { return nil }
    return AlertCondition(
      kind: .slotGrowth, subject: record.lineID.rawValue, projectID: record.projectID,
      message:
        "slot '\(record.slot)' keeps \(status.sourceLSN - status.uploadedLSN) bytes of WAL on server "
        + "'\(record.host):\(record.port)'",
      hint: "following is that far behind: look at the network and at 'exzo store speed'")
  }
}
