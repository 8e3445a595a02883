import APITypes
import Catalog
import Foundation

/// Databases of a branch.
public struct DatabaseService: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  public func list(
    branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> [API.Database] {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      let tenants = try AttachedTenants(of: branch, tx)
      return try tx.databases(of: branch.id)
        .filter { !$0.isDropped && tenants.has(database: $0.name) }.map(presenter.database)
    }
  }

  public func get(
    _ name: String, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.Database {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      return presenter.database(
        try Self.find(name, try core.branch(tx, branch, of: project.id), tx))
    }
  }

  private static func find(
    _ name: String, _ branch: BranchRecord, _ tx: CatalogTransaction
  ) throws -> DatabaseRecord {
    guard let database = try tx.database(name, of: branch.id), !database.isDropped,
      try AttachedTenants(of: branch, tx).has(database: name)
    else {
      throw ControlPlaneError(
        .databaseNotFound, "find database '\(name)' of branch '\(branch.name)': there is none")
    }
    return database
  }

  public func create(
    _ request: API.NewDatabase, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.DatabaseOperations {
    try SettingsRules.databaseName("database.name", request.name)
    return try await change(branch, project, account, "create database '\(request.name)'") {
      tx, project, branch in
      _ = try RoleService.find(request.ownerName, branch, tx)
      let old = try tx.database(request.name, of: branch.id)
      if let old, !old.isDropped {
        throw ControlPlaneError(
          .databaseAlreadyExists,
          "create database '\(request.name)': branch '\(branch.name)' has one of that name")
      }
      if old != nil { throw Self.isLeft(request.name, "create database '\(request.name)'") }
      return try tx.insert(
        NewRows(core: core, project: project).database(
          request.name, owner: request.ownerName, of: branch.id, id: try tx.nextDatabaseID()))
    }
  }

  /// Changes owner and name; a new name cuts the sessions that are in the database.
  public func update(
    _ name: String, _ request: API.DatabaseUpdate, branch: BranchID, project: ProjectID,
    account: AccountID
  ) async throws -> API.DatabaseOperations {
    if let new = request.name { try SettingsRules.databaseName("database.name", new) }
    return try await change(branch, project, account, "change database '\(name)'") {
      tx, _, branch in
      var database = try Self.find(name, branch, tx)
      if let owner = request.ownerName {
        _ = try RoleService.find(owner, branch, tx)
        database.ownerName = owner
      }
      if let new = request.name, new != name {
        if let other = try tx.database(new, of: branch.id) {
          guard !other.isDropped else { throw Self.isLeft(new, "rename database '\(name)'") }
          throw ControlPlaneError(
            .databaseAlreadyExists,
            "rename database '\(name)': branch '\(branch.name)' has '\(new)' already")
        }
        database.renamedFrom = database.renamedFrom ?? name
        database.name = new
      }
      database.updatedAt = core.clock.now
      try tx.update(database)
      return database
    }
  }

  /// Where the operation that removes a deleted one has failed: its name is not free.
  private static func isLeft(_ name: String, _ action: String) -> ControlPlaneError {
    ControlPlaneError(
      .operationInProgress,
      "\(action): the database '\(name)' that was deleted before is still to be removed",
      hint: "delete it once more, wait for the end of that operation, and try again")
  }

  /// Deleting a deleted one answers as the first time; where its removal has failed, that is tried again.
  public func delete(
    _ name: String, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.DatabaseOperations {
    let gone = try await core.catalog.read { tx -> DatabaseRecord? in
      let (branch, isDeleted) = try core.branchOrDeleted(tx, branch, of: project, account: account)
      let found = try tx.deletedDatabase(name, of: branch.id)
      if isDeleted { return try found ?? Self.find(name, branch, tx) }
      guard try tx.database(name, of: branch.id)?.isDropped == true else { return found }
      let locks = try core.tenantLocks(tx, branch.id) + [OperationLock.project(project)]
      return try tx.holder(of: locks, in: project) == nil ? nil : found
    }
    if let gone {
      return API.DatabaseOperations(database: presenter.database(gone), operations: [])
    }
    return try await change(branch, project, account, "delete database '\(name)'") {
      tx, _, branch in
      if let left = try tx.database(name, of: branch.id), left.isDropped { return left }
      var database = try Self.find(name, branch, tx)
      database.isDropped = true
      database.updatedAt = core.clock.now
      try tx.update(database)
      return database
    }
  }

  private func change(
    _ branch: BranchID, _ project: ProjectID, _ account: AccountID, _ action: String,
    _ body:
      @escaping @Sendable (CatalogTransaction, ProjectRecord, BranchRecord) throws -> DatabaseRecord
  ) async throws -> API.DatabaseOperations {
    let answer = try await core.catalog.write { tx in
      let (project, branch) = try core.lockForTenantChange(
        tx, branch, project, account, doing: action)
      try core.refuseAttached(
        tx, branch.lineID, isOverFine: false, doing: action, instead: "do it on that server")
      let database = try body(tx, project, branch)
      let operation = try core.enqueueTenantChange(tx, branch, project)
      return API.DatabaseOperations(
        database: presenter.database(database), operations: [presenter.operation(operation)])
    }
    core.added.fire()
    return answer
  }
}
