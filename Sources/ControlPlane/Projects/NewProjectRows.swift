import APITypes
import Catalog
import Foundation

/// The rows of a new project, and the answer made of them.
struct NewProjectRows {
  let core: Core
  let request: API.NewProject
  let owner: AccountRecord
  let plan: PlanRecord

  func insert(_ tx: CatalogTransaction, password: String) throws -> API.CreatedProject {
    var project = projectRow()
    let line = LineRecord(
      id: core.names.line(), accountID: owner.id, plan: plan.name, projectID: project.id,
      isOpened: false, createdAt: project.createdAt)
    let branch = branchRow(project, line)
    try tx.insert(project)
    try tx.insert(line)
    try tx.insert(branch)
    project.defaultBranchID = branch.id
    try tx.update(project)
    let rows = NewRows(core: core, project: project)
    let role = try rows.role(
      request.branch?.roleName ?? ProjectService.defaultRole, of: branch.id, password: password,
      isProtected: false, canLogin: true)
    try tx.insert(role)
    let database = try tx.insert(firstDatabase(rows, role, id: try tx.nextDatabaseID()))
    let creation = try tx.enqueue(
      OperationRecord(
        .createProject, core, project: project, branch: branch.id,
        locks: [OperationLock.project(project.id)]))
    let (endpoint, start) = try rows.insertEndpoint(
      EndpointRequest(
        type: .readWrite, minimum: request.autoscalingLimitMinCU,
        maximum: request.autoscalingLimitMaxCU), of: branch, plan, after: [creation.id], tx)
    let presenter = Presenter(core: core)
    return API.CreatedProject(
      project: presenter.project(project, owner: owner),
      connectionURIs: [
        presenter.connection(
          endpoint: endpoint.id, role: role.name, password: password, database: database.name)
      ],
      roles: [presenter.role(role, password: password)],
      databases: [presenter.database(database)],
      operations: [creation, start].map(presenter.operation),
      branch: presenter.branch(branch, isDefault: true), endpoints: [presenter.endpoint(endpoint)])
  }

  /// The template's database, renamed where the request names another.
  private func firstDatabase(_ rows: NewRows, _ role: RoleRecord, id: Int) -> DatabaseRecord {
    var database = rows.database(
      request.branch?.databaseName ?? ProjectService.defaultDatabase, owner: role.name,
      of: role.branchID, id: id)
    if database.name != ProjectService.defaultDatabase {
      database.renamedFrom = ProjectService.defaultDatabase
    }
    return database
  }

  private func projectRow() -> ProjectRecord {
    let now = core.clock.now
    let id = core.names.project()
    return ProjectRecord(
      id: id, accountID: owner.id, plan: plan.name, name: request.name ?? id.rawValue,
      pgVersion: request.pgVersion ?? core.settings.majors[core.settings.majors.count - 1],
      settings: request.settings ?? API.ProjectSettings(),
      defaultEndpointSettings: request.defaultEndpointSettings ?? API.DefaultEndpointSettings(),
      historyRetentionSeconds: request.historyRetentionSeconds
        ?? min(ProjectService.defaultRetentionSeconds, plan.retentionSecondsMaximum),
      storePasswords: request.storePasswords ?? true,
      durability: (request.durability ?? .local).rawValue,
      createdAt: now,
      updatedAt: now)
  }

  private func branchRow(_ project: ProjectRecord, _ line: LineRecord) -> BranchRecord {
    let annotations = request.branch?.annotations ?? [:]
    return BranchRecord(
      id: core.names.branch(), accountID: owner.id, plan: plan.name, projectID: project.id,
      lineID: line.id, name: request.branch?.name ?? ProjectService.defaultBranch, state: "init",
      stateChangedAt: project.createdAt, isProtected: false, initSource: "parent-data",
      annotation: annotations, annotatedAt: annotations.isEmpty ? nil : project.createdAt,
      createdAt: project.createdAt, updatedAt: project.createdAt)
  }
}
