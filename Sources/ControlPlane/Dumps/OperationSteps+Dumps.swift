import APITypes
import Catalog
import Foundation
import Synchronization

/// Thrown by a step whose work nobody wants any more; its operation ends as cancelled.
struct OperationCancelled: Error {
  var reason: String
}

/// The steps that make and check dumps.
extension OperationSteps {
  /// Opens the moment, dumps it, closes it; the live compute is not touched.
  func makeDump(_ operation: OperationRecord) async throws {
    let id = DumpID(operation.details[DumpDetail.dump] ?? "")
    let (dump, project, branch) = try await core.catalog.write { try self.begin(id, $0) }
    let moment = ResolvedMoment(lineID: dump.lineID.rawValue, lsn: dump.lsn)
    let stored = try await core.reading.use(moment, of: branch, project, core) {
      [core] compute in
      try await core.dumpTools.make(
        DumpOrder(
          id: id.rawValue, project: project.id.rawValue, database: dump.databaseName,
          format: dump.format, jobs: dump.jobs), from: compute
      ) { progress in
        try await core.catalog.write { tx in
          var row = try self.wanted(id, tx)
          row.progressBytes = progress.bytes
          row.tablesDone = progress.tablesDone
          row.tablesTotal = progress.tablesTotal
          try tx.update(row)
        }
      }
    }
    try await core.catalog.write { tx in
      var row = try self.wanted(id, tx)
      row.sizeBytes = stored.sizeBytes
      row.sha256 = stored.sha256
      row.progressBytes = stored.sizeBytes
      row.tablesDone = stored.tables
      row.tablesTotal = stored.tables
      row.status = row.isVerifiedAfter ? .verifying : .finished
      if row.status == .finished { row.finishedAt = core.clock.now }
      try tx.update(row)
    }
  }

  private func begin(
    _ id: DumpID, _ tx: CatalogTransaction
  ) throws -> (DumpRecord, ProjectRecord, BranchRecord) {
    var dump = try wanted(id, tx)
    dump.status = .running
    dump.startedAt = dump.startedAt ?? core.clock.now
    dump.progressBytes = 0
    dump.tablesDone = 0
    try tx.update(dump)
    guard let project = try tx.project(dump.projectID),
      let branch = try tx.anyBranch(dump.branchID)
    else {
      throw ControlPlaneError(.branchNotFound, "make dump '\(id)': its branch is gone")
    }
    return (dump, project, branch)
  }

  /// The dump, locked, unless it was deleted meanwhile.
  private func wanted(_ id: DumpID, _ tx: CatalogTransaction) throws -> DumpRecord {
    guard let dump = try tx.lockDump(id), dump.deletedAt == nil else {
      throw OperationCancelled(reason: "dump '\(id)' was deleted")
    }
    return dump
  }

  /// Restores the dump into an empty cluster of its own and compares that with the source.
  func verifyDump(_ operation: OperationRecord) async throws {
    let id = DumpID(operation.details[DumpDetail.dump] ?? "")
    let found = try await core.catalog.read { tx -> (DumpRecord, ProjectRecord, BranchRecord)? in
      guard let dump = try tx.dump(id), dump.deletedAt == nil else {
        throw OperationCancelled(reason: "dump '\(id)' was deleted")
      }
      guard dump.status == .verifying, let project = try tx.project(dump.projectID),
        let branch = try tx.anyBranch(dump.branchID)
      else { return nil }
      return (dump, project, branch)
    }
    guard let (dump, project, branch) = found else { return }
    let verification = try await verify(dump, project, branch, operation)
    try await core.catalog.write { tx in
      var row = try self.wanted(id, tx)
      row.verification = verification
      row.status = .finished
      row.finishedAt = core.clock.now
      try tx.update(row)
    }
    guard verification.status == .passed else {
      throw DumpError(
        "verify dump '\(id)' of '\(dump.databaseName)': what was restored differs from the source: "
          + verification.differences.prefix(3).joined(separator: "; "),
        hint: "the dump is kept, with what was found; make another and compare")
    }
  }

  private func verify(
    _ dump: DumpRecord, _ project: ProjectRecord, _ branch: BranchRecord,
    _ operation: OperationRecord
  ) async throws -> API.DumpVerification {
    let moment = ResolvedMoment(lineID: dump.lineID.rawValue, lsn: dump.lsn)
    let source = try await core.reading.use(moment, of: branch, project, core) { [core] past in
      try await core.dumpTools.contents(of: dump.databaseName, on: past)
    }
    return try await ScratchComputes(core: core).use(nil, for: operation, project) {
      [core] scratch in
      let database = dump.databaseName
      let owner = "exzo_scratch"
      // Where roles of the dump are missing they are made without a password.
      _ = try await core.tenants.apply(
        TenantConfiguration(
          roles: [RoleRequest(name: owner, scramVerifier: nil, login: false)], databases: []),
        to: scratch)
      let notes = Mutex<[String]>([])
      try await core.dumpTools.restore(
        RestoreOrder(
          dump: dump.id.rawValue, project: project.id.rawValue, operation: operation.id.rawValue,
          database: database, tables: nil, owner: owner), to: scratch
      ) { outcome in notes.withLock { $0 = outcome.notes } }
      let restored = try await core.dumpTools.contents(of: database, on: scratch)
      var comparison = ContentsComparison(source: source, restored: restored)
      if comparison.schemaDiffers {
        comparison.expectedSchema = try await core.reading.use(moment, of: branch, project, core) {
          try await reprinted(database, of: $0, owner, on: scratch, project)
        }
      }
      return comparison.verification(at: core.clock.now, notes: notes.withLock { $0 })
    }
  }

  /// The schema as a database prints it that was made by its statements: some expressions come back
  /// in other words the first time (`varchar IN (…)`).
  private func reprinted(
    _ database: String, of past: RunningCompute, _ owner: String, on scratch: RunningCompute,
    _ project: ProjectRecord
  ) async throws -> String {
    let copy = "exzo_reprinted"
    _ = try await core.tenants.apply(
      TenantConfiguration(
        roles: [], databases: [DatabaseRequest(name: copy, owner: owner)]), to: scratch)
    try await core.schemaTools.copySchema(
      of: database, from: past, to: copy, on: scratch, project: project.id.rawValue)
    return try await core.dumpTools.contents(of: copy, on: scratch).schema
  }

  /// After a failure: the dump says why, and a schedule's run stays due.
  func abandonDump(_ operation: OperationRecord, _ tx: CatalogTransaction) throws {
    guard let id = operation.details[DumpDetail.dump],
      [OperationKind.makeDump.rawValue, OperationKind.verifyDump.rawValue].contains(operation.kind),
      var dump = try tx.lockDump(DumpID(id)), dump.operationID == operation.id
    else { return }
    let now = core.clock.now
    if dump.sizeBytes == nil {
      dump.status = operation.status == .cancelled ? .cancelled : .failed
      dump.error = operation.error
    } else if dump.status == .verifying {
      dump.status = .finished
      dump.verification = API.DumpVerification(
        status: .error, checkedAt: now,
        differences: ["it could not be verified: \(operation.error ?? "")"])
    }
    dump.finishedAt = dump.finishedAt ?? now
    try tx.update(dump)
    if operation.status == .failed { try ScheduledDumpFailure(core: core).note(operation, tx) }
  }
}

/// Makes a schedule's run due again whose dump failed after it had begun.
struct ScheduledDumpFailure {
  let core: Core

  /// After so many failures the run is given up; the next regular one comes.
  private static let attempts = 8

  func note(_ operation: OperationRecord, _ tx: CatalogTransaction) throws {
    guard let id = operation.details[DumpDetail.scheduleItem],
      let due = operation.details[DumpDetail.dueAt].flatMap({ RFC3339.date($0) }),
      var item = try tx.lockScheduleItem(ScheduleItemID(id)), let last = item.lastRunFor,
      abs(last.timeIntervalSince(due)) < 1
    else { return }
    let failures = (operation.details[DumpDetail.failures].flatMap { Int($0) } ?? 0) + 1
    item.lastRunStatus = API.BackupRunStatus.failed.rawValue
    item.lastRunError = operation.error
    // Several databases of one run fail one by one.
    guard item.failuresCount < failures else { return try tx.update(item) }
    item.failuresCount = failures
    if failures < Self.attempts {
      item.nextRunAt = last
      item.retryAt = core.clock.now.addingTimeInterval(BackupScheduler.pause(after: failures))
    }
    try tx.update(item)
  }
}
