import APITypes
import Catalog
import Foundation
import PostgresFormat

/// One request to put a branch, in place, into the state of a moment.
///
/// The branch's pointer moves to a new line that starts at the moment; id, name and endpoint stay.
/// The former state becomes a branch of its own: named, or a deleted one that can be recovered for
/// seven days.
///
/// *Crash*: nothing is changed by the request but the new line, which nobody points to. The
/// operation opens the line while clients still use the old one; then one transaction moves the
/// pointer. Before it the old state is there, after it the new one.
struct BranchRestore: Sendable {
  let core: Core
  let request: API.BranchRestoreRequest
  let branchID: BranchID
  let projectID: ProjectID
  let account: AccountID

  private var sourceID: BranchID { BranchID(request.sourceBranchID) }

  private struct Source {
    var branch: BranchRecord
    var resolver: MomentResolver
  }

  func run() async throws -> API.BranchOperations {
    try SettingsRules.name("preserve_under_name", request.preserveUnderName)
    let moment = try MomentRequest(
      lsn: request.sourceLSN, time: request.sourceTimestamp,
      names: ("source_lsn", "source_timestamp"))
    if sourceID == branchID, moment == .head {
      throw ControlPlaneError(
        .badValue, "'source_branch_id' is the branch itself and no moment is given",
        hint: "set source_lsn or source_timestamp, or name another branch")
    }
    let source = try await core.catalog.read { tx -> Source in
      let project = try core.project(tx, projectID, of: account)
      _ = try self.check(tx, project)
      let branch = try core.branch(tx, sourceID, of: project.id)
      return Source(branch: branch, resolver: try MomentResolver(core, project, branch, tx))
    }
    let resolved = try await source.resolver.resolve(moment)
    let answer = try await core.catalog.write { tx in
      try self.enqueue(tx, source, moment, resolved)
    }
    core.added.fire()
    return answer
  }

  /// What forbids the restore, looked for before and after the moment is resolved.
  /// - Returns: the branch and its endpoints.
  private func check(
    _ tx: CatalogTransaction, _ project: ProjectRecord
  ) throws -> (BranchRecord, [EndpointRecord]) {
    let branch = try core.branch(tx, branchID, of: project.id)
    let action = "restore branch '\(branch.name)'"
    let endpoints = try tx.endpoints(of: branchID)
    try core.requireFree(
      tx, project.id,
      [OperationLock.branch(branchID), OperationLock.branch(sourceID)]
        + endpoints.map { OperationLock.endpoint($0.id) }, doing: action)
    try core.refuseAttached(tx, branch.lineID, isOverFine: true, doing: action)
    for used in [branch, try core.branch(tx, sourceID, of: project.id)] {
      try core.requireFilled(used, doing: action)
    }
    if branch.isProtected, request.force != true {
      throw ControlPlaneError(
        .branchIsProtected, "\(action): it is protected",
        hint: "set force to restore it all the same")
    }
    guard let name = request.preserveUnderName else {
      if let child = try tx.children(of: branchID).first {
        throw ControlPlaneError(
          .badValue,
          "'preserve_under_name' is required: branch '\(child.name)' is a child of "
            + "'\(branch.name)' and needs its former state", hint: "name the branch that keeps it")
      }
      return (branch, endpoints)
    }
    if try tx.branch(named: name, of: project.id) != nil {
      throw ControlPlaneError(
        .branchAlreadyExists, "\(action): the project has a branch '\(name)' already",
        hint: "choose another preserve_under_name")
    }
    guard let plan = try tx.plan(project.plan),
      try tx.branchCount(of: project.id) < plan.branchesLimit
    else {
      throw ControlPlaneError(
        .limitReached, "\(action): the plan allows no further branch for its former state",
        hint: "delete one, or restore without preserve_under_name")
    }
    return (branch, endpoints)
  }

  private func enqueue(
    _ tx: CatalogTransaction, _ source: Source, _ moment: MomentRequest, _ found: ResolvedMoment
  ) throws -> API.BranchOperations {
    let project = try core.lock(tx, projectID, of: account)
    let (branch, endpoints) = try check(tx, project)
    // Deleted since the moment was resolved?
    _ = try core.branch(tx, sourceID, of: project.id)
    var resolved = found
    if case .time(let time) = moment { resolved.time = time }
    let line = try NewLine(core: core, project: project).insert(
      at: resolved, inheritsWindow: source.resolver.passesWindowOn, tx)
    let endpoint = endpoints.first { $0.type == .readWrite }
    let compute = try NewLine(core: core, project: project).insertCompute(
      on: line.id, of: branch.id, tx)
    let details = RestoreDetails(
      line: line.id, compute: compute.id, source: sourceID, preserved: core.names.branch(),
      preservedName: request.preserveUnderName)
    let lock = OperationLock.branch(details.preserved)
    var restore = OperationRecord(
      .restoreBranch, core, project: project, branch: branch.id, endpoint: endpoint?.id,
      locks: [OperationLock.branch(branch.id), lock]
        + endpoints.map { OperationLock.endpoint($0.id) })
    restore.details = details.values
    restore = try tx.enqueue(restore)
    let retire = try tx.enqueue(
      OperationRecord(
        details.retirement, core, project: project, branch: details.preserved, locks: [lock],
        after: [restore.id]))
    let presenter = Presenter(core: core)
    return API.BranchOperations(
      branch: presenter.branch(branch, isDefault: project.defaultBranchID == branch.id),
      operations: [restore, retire].map(presenter.operation))
  }
}

/// What a restore's operation carries in its `details`.
struct RestoreDetails: Sendable {
  var line: CatalogLineID
  var compute: ComputeID
  var source: BranchID
  /// The id that the former state gets.
  var preserved: BranchID
  /// `nil`: the former state is a deleted branch.
  var preservedName: String?

  /// What ends the former state's compute once the pointer has moved.
  var retirement: OperationKind { preservedName == nil ? .deleteBranch : .retireCompute }

  var values: [String: String] {
    var values = [
      "line": line.rawValue, "compute": compute.rawValue, "source": source.rawValue,
      "preserved": preserved.rawValue,
    ]
    values["preserved_name"] = preservedName
    return values
  }

  init(
    line: CatalogLineID, compute: ComputeID, source: BranchID, preserved: BranchID,
    preservedName: String?
  ) {
    self.line = line
    self.compute = compute
    self.source = source
    self.preserved = preserved
    self.preservedName = preservedName
  }

  init(_ operation: OperationRecord) throws {
    func value(_ name: String) throws -> String {
      guard let text = operation.details[name] else {
        throw CatalogError(
          .undecodable, "read operation '\(operation.id)': its details lack '\(name)'")
      }
      return text
    }
    self.init(
      line: CatalogLineID(try value("line")), compute: ComputeID(try value("compute")),
      source: BranchID(try value("source")), preserved: BranchID(try value("preserved")),
      preservedName: operation.details["preserved_name"])
  }
}

extension BranchService {
  /// Puts the branch, in place, into the state of a moment of itself or of any other branch.
  public func restore(
    _ id: BranchID, _ request: API.BranchRestoreRequest, project: ProjectID, account: AccountID
  ) async throws -> API.BranchOperations {
    try await BranchRestore(
      core: core, request: request, branchID: id, projectID: project, account: account
    ).run()
  }
}
