import APITypes
import Catalog
import Foundation

/// Roles of a branch.
public struct RoleService: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  /// The stored password; `nil` where none is stored or it does not open.
  static func password(of role: RoleRecord, _ core: Core) -> String? {
    guard let sealed = role.sealedPassword else { return nil }
    do {
      let bytes = try core.sealer.open(
        sealed, context: Core.passwordContext(role.branchID, role.name))
      return String(decoding: bytes, as: UTF8.self)
    } catch {
      core.logger.error(
        "stored password does not open",
        metadata: ["branch": "\(role.branchID)", "error": "\(error)"])
      return nil
    }
  }

  public func list(
    branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> [API.Role] {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      let tenants = try AttachedTenants(of: branch, tx)
      return try tx.roles(of: branch.id).filter { !$0.isDropped && tenants.has(role: $0.name) }
        .map { presenter.role($0) }
    }
  }

  public func get(
    _ name: String, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.Role {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      return presenter.role(try Self.find(name, branch, tx))
    }
  }

  static func find(
    _ name: String, _ branch: BranchRecord, _ tx: CatalogTransaction
  ) throws -> RoleRecord {
    guard let role = try tx.role(name, of: branch.id), !role.isDropped,
      try AttachedTenants(of: branch, tx).has(role: name)
    else {
      throw ControlPlaneError(
        .roleNotFound, "find role '\(name)' of branch '\(branch.name)': there is none")
    }
    return role
  }

  /// Makes a role with a password of its own; the answer is the one that shows it unasked.
  public func create(
    _ request: API.NewRole, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.RoleOperations {
    try SettingsRules.roleName("role.name", request.name)
    let canLogin = request.noLogin != true
    return try await change(branch, project, account, "create role '\(request.name)'") {
      tx, project, branch in
      try core.refuseAttached(
        tx, branch.lineID, isOverFine: false, doing: "create role '\(request.name)'",
        instead: "do it on that server")
      let password = core.names.password()
      let role = try NewRows(core: core, project: project).role(
        request.name, of: branch.id, password: password, isProtected: false, canLogin: canLogin)
      switch try tx.role(request.name, of: branch.id) {
      case nil: try tx.insert(role)
      // Deleted while the compute was suspended, so it may still be there: it becomes the new one.
      case let old? where old.isDropped: try tx.update(role)
      case _?:
        throw ControlPlaneError(
          .roleAlreadyExists,
          "create role '\(request.name)': branch '\(branch.name)' has one of that name")
      }
      return presenter.role(role, password: canLogin ? password : nil)
    }
  }

  /// Gives the role a new password and tells it.
  public func resetPassword(
    _ name: String, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.RoleOperations {
    try await change(branch, project, account, "reset password of role '\(name)'") {
      tx, project, branch in
      let old = try Self.find(name, branch, tx)
      guard old.canLogin else {
        throw ControlPlaneError(
          .passwordNotStored, "reset password of role '\(name)': it cannot log in")
      }
      let password = core.names.password()
      var role = try NewRows(core: core, project: project).role(
        name, of: branch.id, password: password, isProtected: old.isProtected, canLogin: true)
      role.createdAt = old.createdAt
      try tx.update(role)
      return presenter.role(role, password: password)
    }
  }

  public func revealPassword(
    _ name: String, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> String {
    let role = try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      return try Self.find(name, try core.branch(tx, branch, of: project.id), tx)
    }
    guard let password = Self.password(of: role, core) else {
      throw ControlPlaneError(
        .passwordNotStored, "reveal password of role '\(name)': none is stored",
        hint: "reset the password to get a new one")
    }
    return password
  }

  /// Deletes a role; where it owns objects in a database it stays there, unable to log in. Deleting a
  /// deleted one answers as the first time.
  public func delete(
    _ name: String, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.RoleOperations {
    let gone = try await core.catalog.read { tx -> RoleRecord? in
      let (branch, isDeleted) = try core.branchOrDeleted(tx, branch, of: project, account: account)
      let found = try tx.deletedRole(name, of: branch.id)
      return try isDeleted ? found ?? Self.find(name, branch, tx) : found
    }
    if let gone { return API.RoleOperations(role: presenter.role(gone), operations: []) }
    return try await change(branch, project, account, "delete role '\(name)'") { tx, _, branch in
      var role = try Self.find(name, branch, tx)
      let owned = try tx.databases(of: branch.id).first { !$0.isDropped && $0.ownerName == name }
      if let owned {
        throw ControlPlaneError(
          .roleOwnsDatabases, "delete role '\(name)': it owns database '\(owned.name)'",
          hint: "give the database another owner or delete it first")
      }
      if role.isProtected {
        throw ControlPlaneError(.roleIsProtected, "delete role '\(name)': it is protected")
      }
      let shown = presenter.role(role)
      role.isDropped = true
      role.sealedPassword = nil
      role.scramVerifier = nil
      role.canLogin = false
      role.updatedAt = core.clock.now
      try tx.update(role)
      return shown
    }
  }

  private func change(
    _ branch: BranchID, _ project: ProjectID, _ account: AccountID, _ action: String,
    _ body:
      @escaping @Sendable (CatalogTransaction, ProjectRecord, BranchRecord) throws -> API.Role
  ) async throws -> API.RoleOperations {
    let answer = try await core.catalog.write { tx in
      let (project, branch) = try core.lockForTenantChange(
        tx, branch, project, account, doing: action)
      let role = try body(tx, project, branch)
      let operation = try core.enqueueTenantChange(tx, branch, project)
      return API.RoleOperations(role: role, operations: [presenter.operation(operation)])
    }
    core.added.fire()
    return answer
  }
}

extension Core {
  /// Roles and databases change one after the other, and not while a compute of the branch starts
  /// or stops.
  func lockForTenantChange(
    _ tx: CatalogTransaction, _ branch: BranchID, _ project: ProjectID, _ account: AccountID,
    doing action: String
  ) throws -> (ProjectRecord, BranchRecord) {
    let project = try lock(tx, project, of: account)
    let found = try self.branch(tx, branch, of: project.id)
    try requireFree(tx, project.id, try tenantLocks(tx, branch), doing: action)
    // Removing a database wakes the compute.
    try requireFilled(found, doing: action)
    return (project, found)
  }

  /// Of a branch and its endpoints.
  func tenantLocks(_ tx: CatalogTransaction, _ branch: BranchID) throws -> [String] {
    try tx.endpoints(of: branch).map { OperationLock.endpoint($0.id) }
      + [OperationLock.branch(branch)]
  }

  func enqueueTenantChange(
    _ tx: CatalogTransaction, _ branch: BranchRecord, _ project: ProjectRecord
  ) throws -> OperationRecord {
    try tx.enqueue(
      OperationRecord(
        .applyRolesAndDatabases, self, project: project, branch: branch.id,
        locks: try tenantLocks(tx, branch.id)))
  }
}
