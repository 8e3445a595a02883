import APITypes
import Catalog
import Foundation

/// Copies a server anew where following cannot go on: its WAL is missing, it failed over, it was detached.
///
/// The branch moves to a line of its own, which begins with a new copy. What it held until then becomes a branch
/// beside it, with its window, at the last WAL that came.
struct AttachmentRenewal {
  let core: Core
  let account: AccountID
  /// Where the server is, and what it says of itself.
  let server: AttachedServer
  let description: SourceDescription

  /// Nothing is copied anew while it is followed.
  func check(_ record: AttachmentRecord) async throws {
    let status = await core.fleet.followStatus(line: record.lineID.rawValue)
    let isOver = [.failed, .detached, .interrupted].contains(record.status)
    guard isOver || record.status == .following && status?.phase == .failed else {
      throw ControlPlaneError(
        .badValue,
        "copy the server of project '\(record.projectID)' anew: it is \(record.status.rawValue), and nothing is "
          + "wrong with that", hint: "leave copy_anew out to change how to connect")
    }
  }

  /// - Returns: the attachment on its new line, and the operation that copies. Another one, which nobody has to wait for,
  ///   takes away what is left of the former line.
  func run(
    _ known: AttachmentRecord
  ) async throws -> (AttachmentRecord, [OperationRecord]) {
    let head = try await head(of: known)
    return try await core.catalog.write { tx in try self.write(known, head, tx) }
  }

  /// Where what was followed ends; `nil` where nothing of it can be opened.
  private func head(of known: AttachmentRecord) async throws -> ResolvedMoment? {
    let line = try await core.catalog.read { try $0.line(known.lineID) }
    guard line?.isOpened == true else { return nil }
    try await requireStored(known)
    return try await core.fleet.resolve(line: known.lineID.rawValue, moment: .head)
  }

  /// The former line goes from this machine, and what came last may be nowhere else.
  private func requireStored(_ known: AttachmentRecord) async throws {
    do {
      guard let status = await core.fleet.followStatus(line: known.lineID.rawValue) else {
        return try await core.fleet.storeFollowed(try known.request(core))
      }
      // What follows goes on storing it, and knows best where its head is.
      guard status.uploadedLSN < status.receivedLSN else { return }
      throw ComputeFleetError(
        .temporary,
        "store the last WAL of server '\(known.host):\(known.port)': the object store has it up to "
          + "\(status.uploadedLSN), \(status.receivedLSN) came")
    } catch let error as ComputeFleetError {
      throw ComputeFleetError(
        error.code,
        "copy the server anew: \(error.message). Nothing is lost; repeat the request when it is stored "
          + "('exzo attach status'), or lose that WAL: detach with give_up_wal first")
    }
  }

  private func write(
    _ known: AttachmentRecord, _ head: ResolvedMoment?, _ tx: CatalogTransaction
  ) throws -> (AttachmentRecord, [OperationRecord]) {
    let project = try core.lock(tx, known.projectID, of: account)
    var record = try AttachmentService(core: core).record(tx, project.id, account)
    guard var branch = try tx.branch(record.branchID), record.lineID == known.lineID else {
      throw ControlPlaneError(
        .branchNotFound,
        "copy the server anew: branch '\(record.branchID)' is gone, or changed meanwhile")
    }
    try core.requireFree(
      tx, project.id, [OperationLock.branch(branch.id)], doing: "copy the server anew")
    if let head { try preserve(branch, head, project, tx) }
    let line = try NewLine(core: core, project: project).insertRoot(tx)
    branch.lineID = line.id
    branch.state = "init"
    branch.stateChangedAt = core.clock.now
    branch.updatedAt = core.clock.now
    try tx.update(branch)
    try release(record, head, project, tx)
    record.lineID = line.id
    record.slot = NewAttachmentRows.slot(line.id)
    record.status = .copying
    record.error = nil
    record.detachedAt = nil
    try AttachmentUpdate.set(&record, server, description, core)
    try tx.update(record)
    let copy = try tx.enqueue(
      OperationRecord(
        .attachSource, core, project: project, branch: branch.id,
        locks: [OperationLock.branch(branch.id)]))
    return (record, [copy])
  }

  /// The slot of the former line protects nothing any more; where it cannot be dropped now it is tried again.
  private func release(
    _ former: AttachmentRecord, _ head: ResolvedMoment?, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws {
    var operation = OperationRecord(
      .releaseFormer, core, project: project, branch: former.branchID, locks: [])
    operation.details = [
      AttachmentDetail.line: former.lineID.rawValue, AttachmentDetail.slot: former.slot,
      AttachmentDetail.givesUpWAL: head == nil ? "true" : "false",
    ]
    _ = try tx.enqueue(operation)
  }

  /// What the branch held becomes one of its own, which goes on from there like any other.
  private func preserve(
    _ branch: BranchRecord, _ head: ResolvedMoment, _ project: ProjectRecord,
    _ tx: CatalogTransaction
  ) throws {
    let line = try NewLine(core: core, project: project).insert(
      at: head, inheritsWindow: true, tx)
    var preserved = PreservedBranch(of: branch, as: core.names.branch(), core)
    preserved.row.lineID = line.id
    try preserved.insert(tx)
    try tx.moveChildren(of: branch.id, to: preserved.row.id, except: preserved.row.id)
  }
}
