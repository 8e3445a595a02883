import APITypes
import Catalog
import Foundation

/// Servers that live elsewhere: attach, show, detach.
public struct AttachmentService: Sendable {
  let core: Core

  /// Asks the server what it is, makes a project for it, and starts the copy; returns at once.
  public func attach(
    _ request: API.AttachRequest, account: AccountID
  ) async throws -> API.AttachedResponse {
    let server = try AttachedServer(request.source)
    try SettingsRules.name("project.name", request.project?.name)
    let description = try await AttachmentUpdate.inspect(server, core)
    try CopyRoom(source: description).require("\(server.host):\(server.port)")
    let followed = try await FollowedServers(core: core, account: account, alike: description)
    let password = core.names.password()
    let answer = try await core.catalog.write { tx -> API.AttachedResponse in
      guard let owner = try tx.lockAccount(account), let plan = try tx.plan(owner.plan) else {
        throw ControlPlaneError(.unauthorized, "attach: the account is gone")
      }
      try SettingsRules.retention(
        request.project?.historyRetentionSeconds
          ?? min(ProjectService.defaultRetentionSeconds, plan.retentionSecondsMaximum), plan)
      guard try tx.projectCount(of: account) < plan.projectsLimit else {
        throw ControlPlaneError(
          .limitReached, "attach: plan '\(plan.name)' allows \(plan.projectsLimit) projects",
          hint: "delete one, or ask for a larger plan")
      }
      try followed.refuse(server, tx)
      return try NewAttachmentRows(
        core: core, request: request, server: server, description: description, owner: owner,
        plan: plan
      ).insert(tx, password: password)
    }
    core.added.fire()
    return answer
  }

  public func get(_ project: ProjectID, account: AccountID) async throws -> API.Attachment {
    let record = try await core.catalog.read { try self.record($0, project, account) }
    var status = await core.fleet.followStatus(line: record.lineID.rawValue)
    if let known = status, known.phase == .following, !known.isStreaming, known.heldUntil == nil {
      // What follows began again meanwhile and heard nothing: the history tells. Where it does not answer either,
      // the status is shown without.
      let window = try? await core.fleet.window(line: record.lineID.rawValue)
      if let window, window.hasEnded { status?.heldUntil = window.latestTime }
    }
    return present(record, status)
  }

  /// Ends the following; the project keeps its history and its branches.
  public func detach(
    _ project: ProjectID, _ request: API.DetachRequest, account: AccountID
  ) async throws -> API.AttachmentOperations {
    let answer = try await core.catalog.write { tx -> API.AttachmentOperations in
      let project = try core.lock(tx, project, of: account)
      var record = try self.record(tx, project.id, account)
      guard record.status != .detached else {
        return API.AttachmentOperations(attachment: present(record, nil), operations: [])
      }
      if let running = try tx.holder(of: [OperationLock.attachment(project.id)], in: project.id) {
        throw ControlPlaneError(
          .operationInProgress, "detach: operation '\(running.id)' (\(running.kind)) is running",
          hint: "try again when it has finished")
      }
      let before = record.status
      record.status = .detaching
      record.updatedAt = core.clock.now
      try tx.update(record)
      var operation = OperationRecord(
        .detachSource, core, project: project, branch: record.branchID,
        locks: [OperationLock.attachment(project.id)])
      operation.details = [
        AttachmentDetail.keepsSlot: request.keepSlot == true ? "true" : "false",
        AttachmentDetail.givesUpWAL: request.giveUpWAL == true ? "true" : "false",
        AttachmentDetail.statusBefore: before.rawValue,
      ]
      operation = try tx.enqueue(operation)
      return API.AttachmentOperations(
        attachment: present(record, nil),
        operations: [Presenter(core: core).operation(operation)])
    }
    core.added.fire()
    return answer
  }

  func record(
    _ tx: CatalogTransaction, _ id: ProjectID, _ account: AccountID
  ) throws -> AttachmentRecord {
    let project = try core.project(tx, id, of: account)
    guard let record = try tx.attachment(of: project.id) else {
      throw ControlPlaneError(
        .attachmentNotFound, "find the attached server of project '\(project.id)': it has none",
        hint: "'exzo attach' makes a project for a server")
    }
    return record
  }

  func present(_ record: AttachmentRecord, _ status: FollowStatus?) -> API.Attachment {
    var shown = API.Attachment(
      projectID: record.projectID.rawValue, branchID: record.branchID.rawValue,
      status: API.AttachmentStatus(rawValue: record.status.rawValue) ?? .failed,
      host: record.host, port: record.port, user: record.roleName, database: record.databaseName,
      slot: record.slot, systemIdentifier: "\(record.source.systemIdentifier)",
      serverVersion: record.source.serverVersion, dataChecksums: record.source.hasChecksums,
      walSegmentBytes: Int(record.source.segmentSize), error: record.error,
      createdAt: record.createdAt, detachedAt: record.detachedAt)
    shown.notes = record.source.notes
    if status == nil, record.status == .following {
      // Nothing runs that could tell; what stands in the way of starting it is known.
      shown.error = core.notFollowed[record.lineID.rawValue]?.reason ?? record.error
    }
    guard let status, record.status == .copying || record.status == .following else { return shown }
    if record.status == .copying {
      shown.copiedBytes = status.copiedBytes
      shown.totalBytes = max(status.totalBytes, status.copiedBytes)
    }
    // While all that is written there comes in, a detaching that failed before stands in nobody's way.
    shown.error = status.trouble ?? (status.isStreaming ? nil : record.error)
    shown.awaySeconds = status.awaySeconds
    if status.phase == .failed {
      shown.status = .failed
      shown.error = status.failure
    }
    shown.streaming = status.isStreaming
    shown.sourceLSN = status.sourceLSN.description
    shown.receivedLSN = status.receivedLSN.description
    shown.storedLSN = status.uploadedLSN.description
    shown.lagSeconds = status.lagSeconds
    guard record.status == .following, !status.isStreaming else { return shown }
    // Nothing waits to be stored, but the server has gone on without us.
    let now = core.clock.now
    shown.heldUntil = status.heldUntil
    shown.awaySince = status.awaySeconds.map { now.addingTimeInterval(-$0) }
    let age = status.heldUntil.map { now.timeIntervalSince($0) } ?? status.awaySeconds ?? 0
    shown.lagSeconds = max(status.lagSeconds, age)
    return shown
  }
}

extension Core {
  /// Refuses what would need a server of ours on a line that follows one elsewhere.
  /// - Parameters:
  ///   - isOverFine: whether the line may be left once nothing follows any more.
  ///   - instead: what else to do than to use a branch of it.
  func refuseAttached(
    _ tx: CatalogTransaction, _ line: CatalogLineID, isOverFine: Bool, doing action: String,
    instead: String? = nil
  ) throws {
    guard let found = try tx.attachment(line: line) else { return }
    let isOver = [.detached, .failed, .interrupted].contains(found.status)
    if isOverFine, isOver { return }
    throw ControlPlaneError(
      isOverFine ? .serverIsAttached : .branchIsAttached,
      "\(action): the branch holds what server '\(found.host):\(found.port)' "
        + (isOver ? "wrote" : "writes"),
      hint: isOverFine
        ? found.wayToLeave
        : (instead.map { "\($0), or " } ?? "") + found.wayToWrite)
  }
}

extension AttachmentRecord {
  fileprivate var wayToLeave: String {
    status == .detaching
      ? "try again when it is detached: 'exzo attach status'" : "'exzo detach' first"
  }

  fileprivate var wayToWrite: String {
    let branch = "create a branch of it: that is a writable copy"
    return status == .copying
      ? "when 'exzo attach status' says that the copy is there, \(branch)" : branch
  }
}
