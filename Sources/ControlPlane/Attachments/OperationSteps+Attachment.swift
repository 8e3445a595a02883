import APITypes
import Catalog
import Foundation

/// Steps of attaching and detaching.
extension OperationSteps {
  private static let pause = Duration.milliseconds(200)

  /// Follows until the copy is stored: then moments can be opened.
  func copySource(_ operation: OperationRecord) async throws {
    while true {
      let record = try await attachment(operation)
      guard record.status == .copying else { return try await endCopy(record) }
      let request = try record.request(core)
      let status = try await core.fleet.follow(request)
      let now = try await attachment(operation)
      guard now.status == .copying else { return try await endCopy(now) }
      switch status.phase {
      case .following: return try await noteFollowing(operation)
      case .failed: throw try await failedCopy(request, status.failure ?? "it gave no reason")
      case .copying, .storing: try await Task.sleep(for: Self.pause)
      }
    }
  }

  private func attachment(_ operation: OperationRecord) async throws -> AttachmentRecord {
    let found = try await core.catalog.read { try $0.attachment(of: operation.projectID) }
    guard let found else {
      throw ControlPlaneError(
        .attachmentNotFound, "follow the server of '\(operation.projectID)': it is not there")
    }
    return found
  }

  /// Somebody detached meanwhile, or the copy is noted already.
  private func endCopy(_ record: AttachmentRecord) async throws {
    guard record.status != .following else { return }
    // What this step may have started after the detaching had ended it.
    if record.status == .detached {
      try await core.fleet.release(
        try record.request(core), keepsSlot: false, givesUpWAL: true)
    }
    throw OperationCancelled(reason: "the server was detached before its copy was complete")
  }

  /// Leaves nothing behind of a copy that cannot be made.
  private func failedCopy(
    _ request: FollowRequest, _ reason: String
  ) async throws -> ComputeFleetError {
    do {
      // Nothing of a line without a copy can be opened.
      try await core.fleet.release(request, keepsSlot: false, givesUpWAL: true)
      return ComputeFleetError(.permanent, reason)
    } catch {
      return ComputeFleetError(
        .permanent, "\(reason); slot '\(request.slot)' may still be on the server: \(error)")
    }
  }

  private func noteFollowing(_ operation: OperationRecord) async throws {
    try await core.catalog.write { tx in
      guard var record = try tx.attachment(of: operation.projectID), record.status == .copying,
        var line = try tx.line(record.lineID)
      else { return }
      record.status = .following
      record.error = nil
      record.updatedAt = core.clock.now
      try tx.update(record)
      line.isOpened = true
      try tx.update(line)
    }
  }

  func abandonAttachment(_ operation: OperationRecord, _ tx: CatalogTransaction) throws {
    guard var record = try tx.attachment(of: operation.projectID) else { return }
    switch (OperationKind(rawValue: operation.kind), record.status) {
    case (.attachSource, .copying): record.status = .failed
    case (.detachSource, .detaching): record.status = try statusAgain(record, operation, tx)
    default: return
    }
    record.error = operation.error
    record.updatedAt = core.clock.now
    try tx.update(record)
  }

  /// What an attachment is whose detaching failed: followed as before where its copy is there. So nothing that the
  /// server writes meanwhile is missing, its slot does not pile WAL up for nobody, and the request can be repeated.
  private func statusAgain(
    _ record: AttachmentRecord, _ operation: OperationRecord, _ tx: CatalogTransaction
  ) throws -> AttachmentRecord.Status {
    let before = operation.details[AttachmentDetail.statusBefore]
    guard before != AttachmentRecord.Status.interrupted.rawValue else { return .interrupted }
    guard try tx.branch(record.branchID)?.lineID == record.lineID,
      try tx.line(record.lineID)?.isOpened == true
    else { return .failed }
    return .following
  }

  /// Ends the following and leaves the source as it was.
  func releaseSource(_ operation: OperationRecord) async throws {
    let record = try await attachment(operation)
    guard record.status == .detaching else { return }
    let keepsSlot = operation.details[AttachmentDetail.keepsSlot] == "true"
    let givesUpWAL = try await givesUpWAL(record, operation)
    let request = try record.request(core)
    if !givesUpWAL { try await storeLast(request) }
    do {
      try await core.fleet.release(request, keepsSlot: keepsSlot, givesUpWAL: givesUpWAL)
    } catch let error as ComputeFleetError {
      throw ComputeFleetError(
        error.code,
        "drop slot '\(record.slot)' on the server: \(error.message); repeat the request when it answers, "
          + "or end without it by keep_slot")
    }
    try await core.catalog.write { tx in
      guard var record = try tx.attachment(of: operation.projectID) else { return }
      record.status = .detached
      record.error = nil
      record.sealedPassword = nil
      record.detachedAt = core.clock.now
      record.updatedAt = core.clock.now
      try tx.update(record)
    }
  }
}

extension OperationSteps {
  /// Whether WAL that the store has not got may go with the following: as asked for, or where nothing of the line can be
  /// opened.
  private func givesUpWAL(
    _ record: AttachmentRecord, _ operation: OperationRecord
  ) async throws -> Bool {
    if operation.details[AttachmentDetail.givesUpWAL] == "true" { return true }
    return try await core.catalog.read { try $0.line(record.lineID)?.isOpened != true }
  }

  /// While the store was away the server was told of WAL that lies here only, and may have it no more.
  private func storeLast(_ request: FollowRequest) async throws {
    do {
      try await core.fleet.storeFollowed(request)
    } catch let error as ComputeFleetError {
      throw ComputeFleetError(
        error.code,
        "\(error.message); nothing is lost, and slot '\(request.slot)' stays: repeat the request when the "
          + "object store answers ('exzo doctor'), or lose that WAL by give_up_wal")
    }
  }
}

extension OperationSteps {
  /// Drops the slot of a line that a new copy has taken the place of, and takes away what the line has on this machine.
  func releaseFormer(_ operation: OperationRecord) async throws {
    let found = try await core.catalog.read { try $0.attachment(of: operation.projectID) }
    guard let found, let line = operation.details[AttachmentDetail.line],
      let slot = operation.details[AttachmentDetail.slot]
    else { return }
    var request = try found.request(core)
    request.lineID = line
    request.slot = slot
    let givesUpWAL = operation.details[AttachmentDetail.givesUpWAL] == "true"
    do {
      try await core.fleet.release(request, keepsSlot: false, givesUpWAL: givesUpWAL)
    } catch let error as ComputeFleetError {
      throw ComputeFleetError(
        error.code,
        "drop the former slot '\(slot)' on server '\(found.host):\(found.port)': \(error.message); while it "
          + "is there it keeps WAL on the server")
    }
  }
}

/// What operations on attachments carry.
enum AttachmentDetail {
  static let keepsSlot = "keep_slot"
  static let givesUpWAL = "give_up_wal"
  /// What a new copy has taken the place of.
  static let line = "former_line"
  static let slot = "former_slot"
  /// What the attachment was when its detaching was asked for.
  static let statusBefore = "status_before"
}

/// Keeps lines following: after a restart of the machine or of serve, after an agent has died, and after a detaching
/// that failed.
struct AttachmentKeeper: Sendable {
  let core: Core

  /// Runs until the task is cancelled.
  func run(every interval: Duration = .seconds(2)) async {
    await PausedLoop(every: interval).run(
      onFailure: { core.logger.error("following failed", metadata: ["error": "\($0)"]) },
      {
        try await round()
        return false
      })
  }

  func round() async throws {
    let records = try await core.catalog.read { try $0.attachments(in: .following) }
    core.notFollowed.keep(Set(records.map(\.lineID.rawValue)))
    await withTaskGroup(of: Void.self) { group in
      for record in records { group.addTask { await keep(record) } }
    }
  }

  private func keep(_ record: AttachmentRecord) async {
    let line = record.lineID.rawValue
    guard await core.fleet.followStatus(line: line) == nil else {
      return core.notFollowed.note(nil, of: line, at: core.clock.now)
    }
    do {
      // Detached since the round began?
      let now = try await core.catalog.read { try $0.attachment(of: record.projectID) }
      guard now?.status == .following else { return }
      _ = try await core.fleet.follow(try record.request(core))
      core.notFollowed.note(nil, of: line, at: core.clock.now)
      core.logger.info("following again", metadata: ["line": "\(line)"])
      let after = try await core.catalog.read { try $0.attachment(of: record.projectID) }
      if after?.status == .detached {
        try await core.fleet.release(
          try record.request(core), keepsSlot: false, givesUpWAL: true)
      }
    } catch {
      core.notFollowed.note("\(error)", of: line, at: core.clock.now)
      core.logger.error(
        "a server is not followed", metadata: ["line": "\(line)", "error": "\(error)"])
    }
  }
}
