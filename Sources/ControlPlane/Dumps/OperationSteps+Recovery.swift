import APITypes
import Catalog
import Foundation
import PostgresFormat

/// The steps that bring dumps, tables and rows back into running branches.
extension OperationSteps {
  func restoreDump(_ operation: OperationRecord) async throws {
    let id = DumpID(operation.details[DumpDetail.dump] ?? "")
    let database = operation.details[DumpDetail.database] ?? ""
    let tables = try operation.details[DumpDetail.tables].map {
      try APICoding.decode([String].self, from: Data($0.utf8))
    }
    let dump = try await core.catalog.read { try $0.dump(id) }
    let known = try outcome(of: operation)
    try await TargetCompute(core: core, steps: self, operation: operation).use { [core] target in
      var order = RestoreOrder(
        dump: id.rawValue, project: operation.projectID.rawValue,
        operation: operation.id.rawValue, database: database, tables: tables, owner: target.owner)
      order.isCommitted = known != nil
      order.isGone = dump.map { $0.deletedAt != nil } ?? true
      try await core.dumpTools.restore(order, to: target.running) {
        try await self.keep($0, operation, knowing: database)
      }
    }
  }

  /// Opens the moment as a branch that can be written, takes the table out of it, and closes it.
  func recoverTable(_ operation: OperationRecord) async throws {
    let details = operation.details
    guard let line = details[DumpDetail.line],
      let lsn = details[DumpDetail.lsn].flatMap({ LSN($0) }),
      let project = try await core.catalog.read({ try $0.project(operation.projectID) })
    else { throw ControlPlaneError(.projectNotFound, "recover a table: its project is gone") }
    let order = TableOrder(
      project: operation.projectID.rawValue, operation: operation.id.rawValue,
      database: details[DumpDetail.database] ?? "", table: details[DumpDetail.table] ?? "",
      newName: details[DumpDetail.newName], condition: details[DumpDetail.condition],
      isCommitted: try outcome(of: operation) != nil)
    let moment = ResolvedMoment(lineID: line, lsn: lsn)
    let target = TargetCompute(core: core, steps: self, operation: operation)
    try await ScratchComputes(core: core).use(moment, for: operation, project) { [core] past in
      try await target.use { target in
        try await core.dumpTools.recover(order, from: past, to: target.running) {
          try await self.keep($0, operation, knowing: nil)
        }
      }
    }
  }

  /// What an earlier attempt of the step committed; `nil` where none is known to have.
  private func outcome(of operation: OperationRecord) throws -> RestoreOutcome? {
    try operation.details[DumpDetail.outcome].map {
      try APICoding.decode(RestoreOutcome.self, from: Data($0.utf8))
    }
  }

  /// Keeps what was committed: the step may end here and be repeated. Notes what the caller should know, and a
  /// database that was made.
  private func keep(
    _ outcome: RestoreOutcome, _ operation: OperationRecord, knowing database: String?
  ) async throws {
    let text = String(decoding: try APICoding.encode(outcome), as: UTF8.self)
    try await core.catalog.write { tx in
      guard let row = try tx.operation(operation.id), let id = operation.branchID else { return }
      var noted = row
      noted.notes = outcome.notes
      noted.details[DumpDetail.outcome] = text
      try tx.update(noted)
      guard let database, try tx.database(database, of: id) == nil,
        let project = try tx.project(operation.projectID)
      else { return }
      let endpoint = try tx.endpoints(of: id).first { $0.type == .readWrite }?.id
      let before = try endpoint.flatMap { try EndpointSubject($0, tx) }
      try tx.insert(
        NewRows(core: core, project: project).database(
          database, owner: outcome.owner, of: id, id: try tx.nextDatabaseID()))
      try renewConfiguration(before, tx)
    }
  }

  /// A line that had what the catalog wanted of it has what it wants now, or what is changed by SQL from here on
  /// would be taken for something that is still to be applied, and undone.
  private func renewConfiguration(_ before: EndpointSubject?, _ tx: CatalogTransaction) throws {
    guard let before, var line = try tx.line(before.line.id),
      line.configuration == (try Self.fingerprint(before.appliedConfiguration)),
      let after = try EndpointSubject(before.endpoint.id, tx)
    else { return }
    line.configuration = try Self.fingerprint(after.appliedConfiguration)
    try tx.update(line)
  }
}

/// The compute of an operation's branch, running: its endpoint's where it has one, else one that
/// is started for the work and stopped after it.
struct TargetCompute: Sendable {
  let core: Core
  let steps: OperationSteps
  let operation: OperationRecord

  struct Target: Sendable {
    var running: RunningCompute
    /// The role that owns the branch's first database.
    var owner: String
  }

  func use<Value: Sendable>(
    _ body: @Sendable (Target) async throws -> Value
  ) async throws -> Value {
    guard let id = operation.branchID else {
      throw ControlPlaneError(.branchNotFound, "restore: the operation names no branch")
    }
    let subject = try await core.catalog.read { [core] tx in
      if let branch = try tx.branch(id) {
        try core.requireFilled(branch, doing: "work on branch '\(branch.name)'")
      }
      let endpoint = try tx.endpoints(of: id).first { $0.type == .readWrite }
      return try endpoint.flatMap { try EndpointSubject($0.id, tx) }
    }
    if let subject {
      let running = try await wake(subject)
      return try await body(Target(running: running, owner: Self.owner(subject.databases)))
    }
    return try await startAlone(id, body)
  }

  /// The oldest database's.
  private static func owner(_ databases: [DatabaseRecord]) -> String {
    databases.filter { !$0.isDropped }.min { $0.id < $1.id }?.ownerName ?? "exzodb_owner"
  }

  private func wake(_ subject: EndpointSubject) async throws -> RunningCompute {
    if subject.endpoint.state == .active,
      let running = await core.fleet.running(line: subject.line.id.rawValue)
    {
      return running
    }
    guard !subject.endpoint.isDisabled else {
      throw ControlPlaneError(
        .endpointDisabled, "restore into branch '\(subject.branch.name)': its endpoint is disabled",
        hint: "enable it and try again")
    }
    try await steps.start(subject)
    guard
      let started = try await core.catalog.read({ try EndpointSubject(subject.endpoint.id, $0) }),
      let running = started.running
    else {
      throw ComputeFleetError(.temporary, "start endpoint '\(subject.endpoint.id)': it is gone")
    }
    try await steps.configure(started, running)
    try await core.catalog.write { tx in
      guard var endpoint = try tx.endpoint(subject.endpoint.id) else { return }
      let now = core.clock.now
      endpoint.state = .active
      endpoint.pendingState = nil
      endpoint.startedAt = now
      endpoint.lastActiveAt = now
      endpoint.suspendedAt = nil
      endpoint.updatedAt = now
      try tx.update(endpoint)
    }
    return running
  }

  /// How the compute of a branch without endpoint is started; its row is added where it is missing.
  private func place(
    _ id: BranchID, _ tx: CatalogTransaction
  ) throws -> (ComputeRequest, LineRecord, String)? {
    guard let branch = try tx.branch(id), let project = try tx.project(branch.projectID),
      let line = try tx.line(branch.lineID)
    else { return nil }
    let present = try tx.computes(project: project.id, branch: id, endpoint: nil)
    let compute =
      try present.first { $0.lineID == line.id }
      ?? NewLine(core: core, project: project).insertCompute(on: line.id, of: id, tx)
    let origin: ComputeRequest.Origin =
      switch (line.isOpened, line.parentID, line.parentLSN) {
      case (false, let parent?, let lsn?): .branch(parentLine: parent.rawValue, lsn: lsn)
      case (false, _, _): .root
      case (true, _, _): .existing
      }
    let request = ComputeRequest(
      computeID: compute.id.rawValue, projectID: project.id.rawValue, branchID: id.rawValue,
      endpointID: "", lineID: line.id.rawValue, origin: origin, major: project.pgVersion,
      settings: ComputeSettings(),
      roles: try tx.roles(of: id).filter { !$0.isDropped }.map {
        RoleRequest(name: $0.name, scramVerifier: $0.scramVerifier, login: $0.canLogin)
      }, databases: [])
    return (request, line, Self.owner(try tx.databases(of: id)))
  }

  private func startAlone<Value: Sendable>(
    _ id: BranchID, _ body: @Sendable (Target) async throws -> Value
  ) async throws -> Value {
    guard let (request, line, owner) = try await core.catalog.write({ try self.place(id, $0) })
    else {
      throw ControlPlaneError(.branchNotFound, "restore into branch '\(id)': it is gone")
    }
    let running = try await core.fleet.start(request)
    do {
      try await core.catalog.write { tx in
        guard var row = try tx.line(line.id), !row.isOpened else { return }
        row.isOpened = true
        try tx.update(row)
      }
      let value = try await body(Target(running: running, owner: owner))
      try await core.fleet.suspend(computeID: request.computeID)
      return value
    } catch {
      do { try await core.fleet.suspend(computeID: request.computeID) } catch let second {
        // The first error is the one to report.
        core.logger.warning("compute was not stopped", metadata: ["error": "\(second)"])
      }
      throw error
    }
  }
}
