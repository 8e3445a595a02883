import APITypes
import Catalog
import Foundation
import PostgresFormat

/// What may be wrong with servers that live elsewhere.
struct AttachmentConditions: Sendable {
  let core: Core

  /// What is wrong, and the lines that are not followed any more.
  func now() async throws -> ([AlertCondition], lost: Set<String>) {
    let records = try await core.catalog.read { try $0.attachments(in: .following) }
    var found: [AlertCondition] = []
    var lost: Set<String> = []
    for record in records {
      guard let status = await core.fleet.followStatus(line: record.lineID.rawValue) else {
        continue
      }
      if status.phase == .failed { lost.insert(record.lineID.rawValue) }
      if let condition = condition(record, status) { found.append(condition) }
      if let condition = growth(record, status) { found.append(condition) }
    }
    return (found, lost)
  }

  private func condition(
    _ record: AttachmentRecord, _ status: FollowStatus
  ) -> AlertCondition? {
    let server = "server '\(record.host):\(record.port)' of project '\(record.projectID)'"
    if status.phase == .failed {
      return AlertCondition(
        kind: .attachmentFailed, subject: record.lineID.rawValue, projectID: record.projectID,
        message: "\(server) is not followed any more: \(status.failure ?? "no reason was given")",
        hint:
          "what is written there from now on has no history here; 'exzo attach status' says more")
    }
    guard let away = status.awaySeconds, away > core.settings.alerts.sourceAway else { return nil }
    return AlertCondition(
      kind: .sourceAway, subject: record.lineID.rawValue, projectID: record.projectID,
      message:
        "\(server) has not been reached for \(Int(away)) s: \(status.trouble ?? "no answer")",
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
