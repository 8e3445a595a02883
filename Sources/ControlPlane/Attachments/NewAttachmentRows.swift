import APITypes
import Catalog
import Foundation

/// The rows of a project for a server that lives elsewhere, and the answer made of them.
struct NewAttachmentRows {
  let core: Core
  let request: API.AttachRequest
  let server: AttachedServer
  let description: SourceDescription
  let owner: AccountRecord
  let plan: PlanRecord

  func insert(_ tx: CatalogTransaction, password: String) throws -> API.AttachedResponse {
    var project = projectRow()
    let line = LineRecord(
      id: core.names.line(), accountID: owner.id, plan: plan.name, projectID: project.id,
      isOpened: false, createdAt: project.createdAt)
    let branch = BranchRecord(
      id: core.names.branch(), accountID: owner.id, plan: plan.name, projectID: project.id,
      lineID: line.id, name: ProjectService.defaultBranch, state: "init",
      stateChangedAt: project.createdAt, isProtected: false, initSource: "parent-data",
      annotation: [:], createdAt: project.createdAt, updatedAt: project.createdAt)
    try tx.insert(project)
    try tx.insert(line)
    try tx.insert(branch)
    project.defaultBranchID = branch.id
    try tx.update(project)
    let (role, databases) = try tenants(project, branch, password, tx)
    let attachment = try tx.insert(record(project, branch))
    let copy = try tx.enqueue(
      OperationRecord(
        .attachSource, core, project: project, branch: branch.id,
        locks: [OperationLock.branch(branch.id)]))
    let presenter = Presenter(core: core)
    return API.AttachedResponse(
      project: presenter.project(project, owner: owner),
      branch: presenter.branch(branch, isDefault: true),
      roles: [presenter.role(role, password: password)],
      databases: databases.map(presenter.database),
      attachment: AttachmentService(core: core).present(attachment, nil),
      operations: [presenter.operation(copy)])
  }

  /// The role that branches are used as, and the server's databases, which belong to it there.
  private func tenants(
    _ project: ProjectRecord, _ branch: BranchRecord, _ password: String, _ tx: CatalogTransaction
  ) throws -> (RoleRecord, [DatabaseRecord]) {
    let rows = NewRows(core: core, project: project)
    let role = try rows.role(
      ProjectService.defaultRole, of: branch.id, password: password, isProtected: false,
      canLogin: true)
    try tx.insert(role)
    // The platform itself connects to 'postgres': it is nobody's to drop.
    let databases = try description.databases.filter { $0 != "postgres" }.map { name in
      try tx.insert(
        rows.database(name, owner: role.name, of: branch.id, id: try tx.nextDatabaseID()))
    }
    return (role, databases)
  }

  private func projectRow() -> ProjectRecord {
    let now = core.clock.now
    let id = core.names.project()
    return ProjectRecord(
      id: id, accountID: owner.id, plan: plan.name, name: request.project?.name ?? id.rawValue,
      pgVersion: description.major, settings: API.ProjectSettings(),
      defaultEndpointSettings: API.DefaultEndpointSettings(),
      historyRetentionSeconds: request.project?.historyRetentionSeconds
        ?? min(ProjectService.defaultRetentionSeconds, plan.retentionSecondsMaximum),
      storePasswords: true, durability: API.Durability.local.rawValue, createdAt: now,
      updatedAt: now)
  }

  private func record(
    _ project: ProjectRecord, _ branch: BranchRecord
  ) throws -> AttachmentRecord {
    let sealed = try Self.sealed(server.password, project.id, core)
    let slot = Self.slot(branch.lineID)
    var facts = description
    facts.rootCertificate = server.rootCertificate
    return AttachmentRecord(
      projectID: project.id, accountID: owner.id, plan: plan.name, branchID: branch.id,
      lineID: branch.lineID, host: server.host, port: server.port, roleName: server.user,
      databaseName: server.database, sslMode: server.sslMode, sealedPassword: sealed, slot: slot,
      source: facts, status: .copying, createdAt: project.createdAt,
      updatedAt: project.createdAt)
  }

  /// Slots have names of small letters, digits and underscores.
  static func slot(_ line: CatalogLineID) -> String {
    "exzo_" + line.rawValue.dropFirst("ln-".count)
  }

  static func sealed(
    _ password: String?, _ project: ProjectID, _ core: Core
  ) throws -> SealedBytes? {
    try password.map {
      try core.sealer.seal(Array($0.utf8), context: passwordContext(project))
    }
  }

  static func passwordContext(_ project: ProjectID) -> String { "attachment \(project)" }
}

extension AttachmentRecord {
  /// What the fleet is to follow.
  func request(_ core: Core) throws -> FollowRequest {
    let password = try sealedPassword.map { sealed in
      String(
        decoding: try core.sealer.open(
          sealed, context: NewAttachmentRows.passwordContext(projectID)), as: UTF8.self)
    }
    return FollowRequest(
      lineID: lineID.rawValue, projectID: projectID.rawValue,
      server: AttachedServer(
        host: host, port: port, user: roleName, password: password, database: databaseName,
        sslMode: sslMode, rootCertificate: source.rootCertificate),
      slot: slot,
      description: source)
  }
}
