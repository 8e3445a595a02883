import APITypes
import Catalog
import Foundation

/// Requests that bring data back into a running branch. The branch itself is not rolled back.
extension DumpService {
  private static let tablesLimit = 1000
  private static let conditionLimit = 65_536
  /// How long the dump is kept that a database is recovered by; seconds.
  private static let byProductSeconds: TimeInterval = 86_400

  /// Restores a dump, or some tables of it, into a database of a branch.
  public func restore(
    _ id: DumpID, _ request: API.DumpRestoreRequest, project: ProjectID, account: AccountID
  ) async throws -> API.OperationsResponse {
    try SettingsRules.databaseName("database", request.database)
    if let tables = request.tables {
      guard (1...Self.tablesLimit).contains(tables.count) else {
        throw ControlPlaneError.value(
          "tables", "\(tables.count) tables", allowed: "1 to \(Self.tablesLimit), or absent")
      }
    }
    let operation = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let dump = try Self.findWritten(id, project, doing: "restore", tx)
      if request.tables != nil, dump.format == .plain {
        throw ControlPlaneError(
          .badValue, "'tables' is set: dump '\(id)' is plain SQL, which is restored as a whole",
          hint: "make a dump of format 'custom'")
      }
      let branch = try core.branch(tx, BranchID(request.branchID), of: project.id)
      return try self.enqueueRestore(
        dump, database: request.database, tables: request.tables, branch, project, after: [], tx)
    }
    core.added.fire()
    return API.OperationsResponse(operations: [Presenter(core: core).operation(operation)])
  }

  private func enqueueRestore(
    _ dump: DumpRecord, database: String, tables: [String]?, _ branch: BranchRecord,
    _ project: ProjectRecord, after: [OperationID], _ tx: CatalogTransaction
  ) throws -> OperationRecord {
    let action = "restore into branch '\(branch.name)'"
    // What a server elsewhere writes takes nothing from here.
    try core.refuseAttached(tx, branch.lineID, isOverFine: false, doing: action)
    let locks = try Self.locks(of: branch, tx)
    try core.requireFree(tx, project.id, locks, doing: action)
    var operation = OperationRecord(
      .restoreDump, core, project: project, branch: branch.id, locks: locks, after: after)
    operation.details = [DumpDetail.dump: dump.id.rawValue, DumpDetail.database: database]
    if let tables {
      operation.details[DumpDetail.tables] = String(
        decoding: try APICoding.encode(tables), as: UTF8.self)
    }
    return try tx.enqueue(operation)
  }

  /// The branch must stay where it is, and its compute must run.
  private static func locks(of branch: BranchRecord, _ tx: CatalogTransaction) throws -> [String] {
    [OperationLock.branch(branch.id)]
      + (try tx.endpoints(of: branch.id).map { OperationLock.endpoint($0.id) })
  }

  /// Brings a table, or some of its rows, back from a moment of the branch.
  public func recover(
    _ request: API.RecoverTableRequest, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.OperationsResponse {
    try SettingsRules.databaseName("database", request.database)
    guard !request.table.isEmpty, request.table.utf8.count <= 256 else {
      throw ControlPlaneError.value("table", request.table, allowed: "schema.table")
    }
    if let name = request.newName { try SettingsRules.identifier("as", name) }
    if let condition = request.condition,
      condition.isEmpty || condition.utf8.count > Self.conditionLimit
    {
      throw ControlPlaneError.value(
        "where", "\(condition.utf8.count) bytes", allowed: "1 to \(Self.conditionLimit) bytes")
    }
    let resolved = try await moment(request.lsn, request.timestamp, branch, project, account)
    let operation = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      let locks = try Self.locks(of: branch, tx)
      try core.requireFree(
        tx, project.id, locks, doing: "recover a table of branch '\(branch.name)'")
      var operation = OperationRecord(
        .recoverTable, core, project: project, branch: branch.id, locks: locks)
      operation.details = [
        DumpDetail.database: request.database, DumpDetail.table: request.table,
        DumpDetail.line: resolved.lineID, DumpDetail.lsn: resolved.lsn.description,
      ]
      operation.details[DumpDetail.newName] = request.newName
      operation.details[DumpDetail.condition] = request.condition
      try tx.insert(
        LeaseRecord(
          id: core.names.lease(), accountID: project.accountID, plan: project.plan,
          projectID: project.id, lineID: CatalogLineID(resolved.lineID), lsn: resolved.lsn,
          expiresAt: core.clock.now.addingTimeInterval(Self.byProductSeconds),
          createdAt: core.clock.now))
      return try tx.enqueue(operation)
    }
    core.added.fire()
    return API.OperationsResponse(operations: [Presenter(core: core).operation(operation)])
  }

  /// Brings a database back from a moment of the branch, under a name that is free: a dump that goes
  /// after a day, and its restore.
  public func recover(
    _ request: API.RecoverDatabaseRequest, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.CreatedDumps {
    try SettingsRules.databaseName("database", request.database)
    let target = request.newName ?? request.database
    try SettingsRules.databaseName("as", target)
    let resolved = try await moment(request.lsn, request.timestamp, branch, project, account)
    let answer = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      if try tx.database(target, of: branch.id)?.isDropped == false {
        throw ControlPlaneError(
          .databaseAlreadyExists,
          "recover database '\(request.database)': branch '\(branch.name)' has a database '\(target)'",
          hint: "name another one with 'as'")
      }
      let (dump, making) = try NewDumps(core: core, project: project).insert(
        request.database, of: branch.id, at: resolved, format: .custom, jobs: 1, isManual: true,
        verifies: false, expiresAt: core.clock.now.addingTimeInterval(Self.byProductSeconds), tx)
      let restore = try self.enqueueRestore(
        dump, database: target, tables: nil, branch, project, after: [making.id], tx)
      let presenter = Presenter(core: core)
      return API.CreatedDumps(
        dumps: [presenter.dump(dump)], operations: [making, restore].map(presenter.operation))
    }
    core.added.fire()
    return answer
  }

  private func moment(
    _ lsn: String?, _ time: Date?, _ branch: BranchID, _ project: ProjectID, _ account: AccountID
  ) async throws -> ResolvedMoment {
    let moment = try MomentRequest(lsn: lsn, time: time, names: ("lsn", "timestamp"))
    guard moment != .head else {
      throw ControlPlaneError(
        .badValue, "'timestamp' or 'lsn' is required: it says which moment to recover from")
    }
    let resolver = try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      try core.refuseAttached(
        tx, branch.lineID, isOverFine: false, doing: "recover into branch '\(branch.name)'")
      return try MomentResolver(core, project, branch, tx)
    }
    var resolved = try await resolver.resolve(moment)
    if let time { resolved.time = time }
    return resolved
  }
}
