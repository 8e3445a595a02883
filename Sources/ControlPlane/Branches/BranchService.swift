import APITypes
import Catalog
import Foundation
import PostgresFormat

/// Branches: list, read, change, delete. Creation is in ``BranchCreation``.
public struct BranchService: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  public func create(
    _ request: API.BranchCreateRequest, project: ProjectID, account: AccountID
  ) async throws -> API.CreatedBranch {
    try await BranchCreation(core: core, request: request, projectID: project, account: account)
      .run()
  }

  public struct List: Sendable {
    public var branches: [API.Branch]
    public var annotations: [String: API.Annotation]
    public var next: PagePosition?
  }

  public func list(
    project: ProjectID, account: AccountID, search: String?, includesDeleted: Bool,
    by column: BranchSortColumn, page: PageRequest
  ) async throws -> List {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let found = try tx.branches(
        of: project.id, search: search,
        deletedSince: includesDeleted
          ? core.clock.now.addingTimeInterval(-Presenter.recoverySeconds) : nil, by: column, page)
      let usage = try tx.usage(of: project.id, since: presenter.billingPeriod().start)
      let annotated = found.elements.filter { !$0.annotation.isEmpty }
      return List(
        branches: try found.elements.map {
          var shown = presenter.branch(
            $0, isDefault: $0.id == project.defaultBranchID, usage: usage[$0.id] ?? UsageTotals())
          shown.restrictedActions = Self.restrictedActions(heldBy: try self.heldBy($0, tx))
          return shown
        },
        annotations: Dictionary(
          uniqueKeysWithValues: annotated.map { ($0.id.rawValue, presenter.annotation($0)) }),
        next: found.next)
    }
  }

  public func count(
    project: ProjectID, account: AccountID, search: String?
  ) async throws -> Int {
    try await core.catalog.read { tx in
      try tx.branchCount(of: try core.project(tx, project, of: account).id, search: search)
    }
  }

  /// The branch with its restore window, where the history answers.
  public func get(
    _ id: BranchID, project: ProjectID, account: AccountID
  ) async throws -> (branch: API.Branch, annotation: API.Annotation) {
    let (project, branch, resolver, usage, child) = try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, id, of: project.id)
      let usage = try tx.usage(of: id, project: project.id, since: presenter.billingPeriod().start)
      return (
        project, branch, try MomentResolver(core, project, branch, tx), usage,
        try self.heldBy(branch, tx)
      )
    }
    var window: API.RestoreWindow?
    var size: Int?
    if branch.state == "ready" {
      window = try await self.window(resolver)
      size = await core.fleet.logicalSize(line: branch.lineID.rawValue)
    }
    var shown = presenter.branch(
      branch, isDefault: branch.id == project.defaultBranchID, usage: usage, window: window,
      logicalSize: size)
    shown.restrictedActions = Self.restrictedActions(heldBy: child)
    return (shown, presenter.annotation(branch))
  }

  private static func restrictedActions(
    heldBy child: BranchRecord?
  ) -> [API.BranchRestrictedAction]? {
    child.map {
      [
        API.BranchRestrictedAction(
          name: "delete",
          reason: "its time is over, and branch '\($0.name)' is its child: "
            + "it goes when its children are gone")
      ]
    }
  }

  /// A child, where a branch whose time is over stays because of it.
  private func heldBy(_ branch: BranchRecord, _ tx: CatalogTransaction) throws -> BranchRecord? {
    guard let time = branch.expiresAt, time <= core.clock.now, branch.preservedFrom == nil else {
      return nil
    }
    return try tx.children(of: branch.id).first
  }

  /// `nil` where the history does not answer: the branch is shown all the same.
  private func window(_ resolver: MomentResolver) async throws -> API.RestoreWindow? {
    do {
      let found = try await resolver.window()
      return API.RestoreWindow(
        earliestLSN: found.earliestLSN.description, earliestTimestamp: found.earliestTime,
        latestLSN: found.latestLSN.description, latestTimestamp: found.latestTime)
    } catch let error as ComputeFleetError {
      core.logger.warning(
        "restore window is unknown",
        metadata: ["branch": "\(resolver.branch.id)", "error": "\(error)"])
      return nil
    }
  }

  public func update(
    _ id: BranchID, _ change: API.BranchUpdate, project: ProjectID, account: AccountID
  ) async throws -> API.BranchOperations {
    try SettingsRules.name("branch.name", change.name)
    return try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account)
      var branch = try core.branch(tx, id, of: project.id)
      try core.requireFree(
        tx, project.id, [OperationLock.branch(id)], doing: "change branch '\(branch.name)'")
      if let name = change.name { branch.name = name }
      if let isProtected = change.isProtected { branch.isProtected = isProtected }
      switch change.expiresAt {
      case .absent: break
      case .null: branch.expiresAt = nil
      case .value(let date):
        try Self.checkExpiry(date, core.clock.now)
        branch.expiresAt = date
      }
      if branch.expiresAt != nil, branch.isProtected || project.defaultBranchID == id {
        throw ControlPlaneError(
          .badValue, "'branch.expires_at' is set: a default or protected branch cannot expire")
      }
      branch.updatedAt = core.clock.now
      try Self.unique(branch.name) { try tx.update(branch) }
      return API.BranchOperations(
        branch: presenter.branch(branch, isDefault: project.defaultBranchID == id), operations: [])
    }
  }

  static func checkExpiry(_ date: Date, _ now: Date) throws {
    guard date > now else {
      throw ControlPlaneError.value(
        "branch.expires_at", RFC3339.text(date), allowed: "a time in the future")
    }
  }

  /// Turns a broken name constraint into the refusal that clients know.
  static func unique(_ name: String, _ body: () throws -> Void) throws {
    do {
      try body()
    } catch let error as CatalogError where error.constraint == "branches_name" {
      throw ControlPlaneError(
        .branchAlreadyExists, "name a branch '\(name)': the project has one of that name",
        hint: "choose another name")
    }
  }

  public func setDefault(
    _ id: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.BranchOperations {
    try await core.catalog.write { tx in
      var project = try core.lock(tx, project, of: account)
      let branch = try core.branch(tx, id, of: project.id)
      try core.requireFree(
        tx, project.id, [OperationLock.branch(id)],
        doing: "make '\(branch.name)' the default branch")
      guard branch.expiresAt == nil else {
        throw ControlPlaneError(
          .badValue, "make '\(branch.name)' the default branch: it expires",
          hint: "remove its expires_at first")
      }
      project.defaultBranchID = id
      project.updatedAt = core.clock.now
      try tx.update(project)
      return API.BranchOperations(branch: presenter.branch(branch, isDefault: true), operations: [])
    }
  }

  /// Deletes a branch and its endpoints; deleting a deleted one answers as the first time.
  /// - Parameter forGood: it cannot be recovered, also where it was deleted before.
  public func delete(
    _ id: BranchID, project: ProjectID, account: AccountID, forGood: Bool = false
  ) async throws -> API.BranchOperations {
    try await delete(id, project: project, account: account, method: "user", forGood: forGood)
  }

  func delete(
    _ id: BranchID, project: ProjectID, account: AccountID, method: String, forGood: Bool = false
  ) async throws -> API.BranchOperations {
    let answer = try await core.catalog.write { tx in
      let project = try core.lock(tx, project, of: account, includesDeleted: true)
      guard var branch = try tx.branch(id, of: project.id) else {
        throw ControlPlaneError(
          .branchNotFound, "delete branch '\(id)' in project '\(project.id)': there is none")
      }
      if forGood { branch.isPurged = true }
      guard branch.deletedAt == nil, project.deletedAt == nil else {
        // What goes with its project comes back with it.
        if branch.deletedAt != nil { try tx.update(branch) }
        return API.BranchOperations(
          branch: presenter.branch(branch, isDefault: false), operations: [])
      }
      try self.checkDeletable(branch, project, tx)
      return try self.bury(branch, project, tx, method: method)
    }
    core.added.fire()
    return answer
  }

  private func checkDeletable(
    _ branch: BranchRecord, _ project: ProjectRecord, _ tx: CatalogTransaction
  ) throws {
    let action = "delete branch '\(branch.name)'"
    if project.defaultBranchID == branch.id {
      throw ControlPlaneError(
        .branchIsDefault, "\(action): it is the default branch", hint: "make another the default")
    }
    try core.refuseAttached(tx, branch.lineID, isOverFine: true, doing: action)
    if branch.isProtected {
      throw ControlPlaneError(
        .branchIsProtected, "\(action): it is protected", hint: "remove the protection first")
    }
    // Children of a preserved state go to the branch that it was preserved from.
    if branch.preservedFrom == nil, let child = try tx.children(of: branch.id).first {
      throw ControlPlaneError(
        .branchHasChildren, "\(action): branch '\(child.name)' is its child",
        hint: "delete its children first")
    }
    let endpoints = try tx.endpoints(of: branch.id).map { OperationLock.endpoint($0.id) }
    try core.requireFree(
      tx, project.id, endpoints + [OperationLock.branch(branch.id)], doing: action)
  }

  private func bury(
    _ found: BranchRecord, _ project: ProjectRecord, _ tx: CatalogTransaction, method: String
  ) throws -> API.BranchOperations {
    let now = core.clock.now
    var branch = found
    branch.deletedAt = now
    branch.updatedAt = now
    branch.deletionMethod = method
    try tx.update(branch)
    if let heir = branch.preservedFrom {
      let parent = try tx.livingBranch(heir) ?? tx.livingBranch(branch.parentID)
      try tx.moveChildren(of: branch.id, to: parent?.id, except: parent?.id)
    }
    for var endpoint in try tx.endpoints(of: branch.id) {
      endpoint.deletedAt = now
      try tx.update(endpoint)
    }
    let operation = try tx.enqueue(
      OperationRecord(
        .deleteBranch, core, project: project, branch: branch.id,
        locks: [OperationLock.branch(branch.id)]))
    return API.BranchOperations(
      branch: presenter.branch(branch, isDefault: false),
      operations: [presenter.operation(operation)])
  }
}
