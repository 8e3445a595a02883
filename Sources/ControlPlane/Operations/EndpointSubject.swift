import APITypes
import Catalog
import Foundation

/// An endpoint and all that a compute of it depends on, read in one snapshot.
struct EndpointSubject: Sendable {
  var project: ProjectRecord
  var branch: BranchRecord
  var line: LineRecord
  var endpoint: EndpointRecord
  var compute: ComputeRecord
  var roles: [RoleRecord]
  var databases: [DatabaseRecord]
  /// The branch's other endpoint where this one is `read_only`: its server must not allow less.
  var primary: EndpointRecord?
  /// Whether the line begins at a moment of a server elsewhere.
  var isAdopted: Bool

  /// `nil` where the endpoint is not there.
  init?(_ id: EndpointID, _ tx: CatalogTransaction) throws {
    guard let endpoint = try tx.endpoint(id), let project = try tx.project(endpoint.projectID),
      let branch = try tx.branch(endpoint.branchID), let line = try tx.line(branch.lineID)
    else { return nil }
    guard let compute = try ReplicaComputes.compute(of: endpoint, tx) else { return nil }
    self.compute = compute
    if endpoint.type == .readOnly {
      primary = try tx.endpoints(of: branch.id).first { $0.type == .readWrite }
    }
    self.project = project
    self.branch = branch
    self.line = line
    self.endpoint = endpoint
    isAdopted = try tx.followsSource(line.parentID, in: project.id)
    roles = try tx.roles(of: branch.id)
    databases = try tx.databases(of: branch.id)
  }

  var request: ComputeRequest {
    ComputeRequest(
      computeID: compute.id.rawValue, projectID: project.id.rawValue, branchID: branch.id.rawValue,
      endpointID: endpoint.id.rawValue, lineID: line.id.rawValue, origin: origin,
      major: project.pgVersion, settings: settings, roles: configuration.roles,
      databases: configuration.databases)
  }

  private var origin: ComputeRequest.Origin {
    if line.isOpened { return .existing }
    guard let parent = line.parentID, let lsn = line.parentLSN else { return .root }
    return .branch(parentLine: parent.rawValue, lsn: lsn)
  }

  var settings: ComputeSettings {
    ComputeSettings(
      sharedBuffersMB: ComputeSize.sharedBuffersMB(endpoint.computeUnitsMaximum),
      units: endpoint.computeUnitsMaximum,
      memoryMB: ComputeSize.memoryMB(endpoint.computeUnitsMaximum),
      maxConnections: ConnectionLimit.effective(endpoint, primary: primary, of: project),
      enablesLogicalReplication: project.settings.enableLogicalReplication ?? false,
      waitsForObjectStore: project.durability == ProjectRecord.objectStoreDurability,
      parameters: ConnectionLimit.parameters(of: endpoint, project)
        .filter { $0.key.lowercased() != ConnectionLimit.name })
  }

  /// What the compute shall hold. A line opened at a past moment for the first time keeps that
  /// moment's databases and their owners.
  var configuration: TenantConfiguration {
    TenantConfiguration(
      roles: roles.filter { !$0.isDropped }.map {
        RoleRequest(name: $0.name, scramVerifier: $0.scramVerifier, login: $0.canLogin)
      },
      droppedRoles: roles.filter(\.isDropped).map(\.name) + leftoverRoles,
      databases: databases.filter { !$0.isDropped }.map {
        DatabaseRequest(name: $0.name, owner: $0.ownerName)
      },
      droppedDatabases: databases.filter(\.isDropped).map { $0.renamedFrom ?? $0.name },
      renamedDatabases: databases.filter { !$0.isDropped && $0.renamedFrom != nil }.map {
        DatabaseRename(from: $0.renamedFrom ?? "", to: $0.name)
      },
      createsDatabases: createsDatabases, adopter: createsDatabases ? nil : adopter)
  }

  /// What it holds once that is applied.
  var appliedConfiguration: TenantConfiguration {
    var applied = configuration
    applied.createsDatabases = true
    applied.adopter = nil
    return applied
  }

  private var createsDatabases: Bool { line.parentID == nil || line.configuration != nil }

  private var adopter: String? {
    guard isAdopted else { return nil }
    let logins = roles.filter { !$0.isDropped && $0.canLogin }.map(\.name)
    return logins.first { $0 == ProjectService.defaultRole } ?? logins.first
  }

  /// The template's owner, where the project named another one.
  private var leftoverRoles: [String] {
    let template = ProjectService.defaultRole
    guard line.parentID == nil, !roles.contains(where: { $0.name == template }) else { return [] }
    return [template]
  }

  /// Where the compute was last seen to run.
  var running: RunningCompute? { compute.running }
}

/// Writes what a compute was found to hold back to the catalog.
struct TenantReconciliation {
  let core: Core
  let subject: EndpointSubject
  let contents: TenantContents

  func apply(_ tx: CatalogTransaction) throws {
    for role in subject.roles where role.isDropped && !contents.roles.contains(role.name) {
      try tx.deleteRole(role.name, of: role.branchID)
    }
    let names = Set(contents.databases.map(\.name))
    for database in subject.databases where !names.contains(database.name) {
      if database.isDropped || !subject.configuration.createsDatabases {
        try tx.deleteDatabase(database.id)
      }
    }
    for var database in subject.databases
    where database.renamedFrom != nil && names.contains(database.name) {
      database.renamedFrom = nil
      try tx.update(database)
    }
    let known = Set(subject.databases.map(\.name))
    let now = core.clock.now
    // The past has its own owners, too.
    for var database in subject.databases
    where !database.isDropped && !subject.configuration.createsDatabases {
      guard let found = contents.databases.first(where: { $0.name == database.name }),
        found.owner != database.ownerName
      else { continue }
      database.ownerName = found.owner
      database.renamedFrom = nil
      database.updatedAt = now
      try tx.update(database)
    }
    for database in contents.databases where !known.contains(database.name) {
      guard try tx.database(database.name, of: subject.branch.id) == nil else { continue }
      try tx.insert(
        DatabaseRecord(
          id: try tx.nextDatabaseID(), branchID: subject.branch.id,
          accountID: subject.project.accountID, plan: subject.project.plan,
          projectID: subject.project.id, name: database.name, ownerName: database.owner,
          isDropped: false, createdAt: now, updatedAt: now))
    }
  }
}
