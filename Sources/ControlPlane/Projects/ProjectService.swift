import APITypes
import Catalog
import Foundation

/// Projects: create, list, read, change, delete.
public struct ProjectService: Sendable {
  let core: Core
  private var presenter: Presenter { Presenter(core: core) }

  public static let defaultBranch = "main"
  public static let defaultRole = "exzodb_owner"
  public static let defaultDatabase = "exzodb"
  public static let defaultRetentionSeconds = 604_800

  /// Makes a project with a branch, a role, a database and a compute that starts, and returns at
  /// once.
  public func create(_ request: API.NewProject, account: AccountID) async throws
    -> API.CreatedProject
  {
    let password = core.names.password()
    let result = try await core.catalog.write { tx -> API.CreatedProject in
      guard let owner = try tx.lockAccount(account), let plan = try tx.plan(owner.plan) else {
        throw ControlPlaneError(.unauthorized, "create project: the account is gone")
      }
      try self.validate(request, plan)
      guard try tx.projectCount(of: account) < plan.projectsLimit else {
        throw ControlPlaneError(
          .limitReached,
          "create project: plan '\(plan.name)' allows \(plan.projectsLimit) projects",
          hint: "delete one, or ask for a larger plan")
      }
      return try NewProjectRows(core: core, request: request, owner: owner, plan: plan)
        .insert(tx, password: password)
    }
    core.added.fire()
    return result
  }

  private func validate(_ request: API.NewProject, _ plan: PlanRecord) throws {
    let rules = SettingsRules(installation: core.settings)
    try SettingsRules.name("project.name", request.name)
    try SettingsRules.name("project.branch.name", request.branch?.name)
    try SettingsRules.annotations("project.branch.annotations", request.branch?.annotations)
    if let role = request.branch?.roleName, role != Self.defaultRole {
      try SettingsRules.roleName("project.branch.role_name", role)
    }
    if let database = request.branch?.databaseName {
      try SettingsRules.databaseName("project.branch.database_name", database)
    }
    try rules.region("project.region_id", request.regionID)
    try SettingsRules.provisioner("project.provisioner", request.provisioner)
    if let version = request.pgVersion, !core.settings.majors.contains(version) {
      let majors = core.settings.majors.map(String.init).joined(separator: ", ")
      throw ControlPlaneError.value("project.pg_version", version, allowed: "one of \(majors)")
    }
    if request.orgID != nil {
      throw ControlPlaneError.unsupported("project.org_id", allowed: "leave it out")
    }
    try SettingsRules.retention(
      request.historyRetentionSeconds
        ?? min(Self.defaultRetentionSeconds, plan.retentionSecondsMaximum), plan)
    try SettingsRules.project(request.settings)
    try SettingsRules.defaults(request.defaultEndpointSettings, plan)
  }

  /// - Parameter isDeleted: the deleted ones that can be recovered, in place of those that are there.
  public func list(
    account: AccountID, search: String?, isDeleted: Bool, page: PageRequest
  ) async throws -> (projects: [API.ProjectListItem], next: PagePosition?) {
    let recoverable = core.clock.now.addingTimeInterval(-Presenter.recoverySeconds)
    return try await core.catalog.read { tx in
      let found = try tx.projects(
        of: account, search: search, deletedSince: isDeleted ? recoverable : nil, page)
      return (try presenter.listItems(found.elements, tx), found.next)
    }
  }

  /// - Throws: `.projectNotFound` where the project is not the account's, nor shared with it. A deleted one is.
  public func requireAccess(_ id: ProjectID, account: AccountID) async throws {
    try await core.catalog.read { tx in
      _ = try core.project(tx, id, of: account, includesDeleted: true)
    }
  }

  public func get(_ id: ProjectID, account: AccountID) async throws -> API.Project {
    try await core.catalog.read { tx in
      try self.present(try core.project(tx, id, of: account), tx)
    }
  }

  private func present(_ project: ProjectRecord, _ tx: CatalogTransaction) throws -> API.Project {
    guard let owner = try tx.account(project.accountID) else {
      throw ControlPlaneError(.projectNotFound, "find project '\(project.id)': it has no owner")
    }
    let usage = try tx.usage(of: project.id, since: presenter.billingPeriod().start)
    return presenter.project(
      project, owner: owner, usage: usage.values.reduce(into: UsageTotals()) { $0 += $1 })
  }

  /// Changes take effect at once, except settings of computes: those at their next start.
  public func update(
    _ id: ProjectID, _ change: API.ProjectUpdate, account: AccountID
  ) async throws -> API.ProjectOperations {
    try await core.catalog.write { tx in
      var project = try core.lock(tx, id, of: account)
      try core.requireFree(tx, id, [], doing: "change project '\(id)'")
      guard let plan = try tx.plan(project.plan) else {
        throw ControlPlaneError(.projectNotFound, "change project '\(id)': its plan is gone")
      }
      try SettingsRules.name("project.name", change.name)
      try SettingsRules.project(change.settings)
      try SettingsRules.defaults(change.defaultEndpointSettings, plan)
      if let seconds = change.historyRetentionSeconds {
        try SettingsRules.retention(seconds, plan)
        try RetentionService(core: core).set(seconds, of: &project, tx)
      }
      if let name = change.name { project.name = name }
      if let durability = change.durability { project.durability = durability.rawValue }
      if let settings = change.settings { project.settings = project.settings.merging(settings) }
      if let defaults = change.defaultEndpointSettings {
        project.defaultEndpointSettings = project.defaultEndpointSettings.merging(defaults)
      }
      project.updatedAt = core.clock.now
      try tx.update(project)
      return API.ProjectOperations(project: try self.present(project, tx), operations: [])
    }
  }

  /// Deletes the project and all in it; deleting a deleted one answers as the first time.
  public func delete(_ id: ProjectID, account: AccountID) async throws -> API.ProjectOperations {
    let answer = try await core.catalog.write { tx -> API.ProjectOperations in
      guard var project = try tx.lockProject(id, of: account), project.accountID == account else {
        throw ControlPlaneError(.projectNotFound, "delete project '\(id)': there is none")
      }
      let shown = try self.present(project, tx)
      guard project.deletedAt == nil else {
        return API.ProjectOperations(project: shown, operations: [])
      }
      let branches = try tx.branches(of: id)
      if let attachment = try tx.attachment(of: id) {
        try core.refuseAttached(
          tx, attachment.lineID, isOverFine: true, doing: "delete project '\(id)'")
      }
      if let branch = branches.first(where: \.isProtected) {
        throw ControlPlaneError(
          .branchIsProtected, "delete project '\(id)': its branch '\(branch.name)' is protected",
          hint: "remove the protection first")
      }
      let endpoints = try tx.endpoints(of: id)
      let locks =
        branches.map { OperationLock.branch($0.id) }
        + endpoints.map { OperationLock.endpoint($0.id) }
      try core.requireFree(tx, id, locks, doing: "delete project '\(id)'")
      let now = core.clock.now
      project.deletedAt = now
      project.updatedAt = now
      try tx.update(project)
      for var endpoint in endpoints {
        endpoint.deletedAt = now
        try tx.update(endpoint)
      }
      let operation = try tx.enqueue(
        OperationRecord(.deleteProject, core, project: project, locks: [OperationLock.project(id)]))
      return API.ProjectOperations(
        project: shown, operations: [presenter.operation(operation)])
    }
    core.added.fire()
    return answer
  }
}
