import Catalog
import Foundation
import PostgresFormat

/// A `schema-only` branch that is being filled.
private struct SchemaBranch: Sendable {
  var project: ProjectRecord
  var branch: BranchRecord
  var compute: ComputeRecord
  var roles: [RoleRecord]
  var databases: [DatabaseRecord]
  var source: BranchRecord
  /// The moment whose schema it gets.
  var moment: ResolvedMoment

  /// `nil` where something of it is gone, or it is ready.
  init?(_ operation: OperationRecord, _ tx: CatalogTransaction) throws {
    guard let branch = try operation.branchID.flatMap({ try tx.branch($0) }),
      branch.state != "ready", let project = try tx.project(branch.projectID),
      let compute = try tx.computes(project: project.id, branch: branch.id, endpoint: nil).first,
      let source = try operation.details["source"].flatMap({ try tx.anyBranch(BranchID($0)) }),
      let line = operation.details["source_line"],
      let lsn = operation.details["source_lsn"].flatMap({ LSN($0) })
    else { return nil }
    self.project = project
    self.branch = branch
    self.compute = compute
    self.source = source
    roles = try tx.roles(of: branch.id)
    databases = try tx.databases(of: branch.id)
    moment = ResolvedMoment(lineID: line, lsn: lsn)
  }

  var request: ComputeRequest {
    ComputeRequest(
      computeID: compute.id.rawValue, projectID: project.id.rawValue, branchID: branch.id.rawValue,
      endpointID: "", lineID: branch.lineID.rawValue, origin: .root, major: project.pgVersion,
      settings: ComputeSettings(),
      roles: configuration(of: TenantContents(databases: [], roles: [])).roles, databases: [])
  }

  /// All roles, and the databases that exist at the moment, as if they had just been made.
  func configuration(of past: TenantContents) -> TenantConfiguration {
    let names = Set(past.databases.map(\.name))
    let known = Set(roles.map(\.name))
    return TenantConfiguration(
      roles: roles.map {
        RoleRequest(name: $0.name, scramVerifier: $0.scramVerifier, login: $0.canLogin)
      }
        // Roles dropped since own objects of the moment; they cannot log in.
        + past.roles.filter { !known.contains($0) }.map {
          RoleRequest(name: $0, scramVerifier: nil, login: false)
        },
      databases: databases.filter { names.contains($0.name) }.map {
        DatabaseRequest(name: $0.name, owner: $0.ownerName)
      })
  }
}

extension OperationSteps {
  /// Fills the root line of a `schema-only` branch: roles, databases and their objects, no rows.
  ///
  /// The line comes from the template, not from the branch that it was made of, so that no moment of
  /// it holds that one's data. Done again it begins with empty databases.
  func copySchema(_ operation: OperationRecord) async throws {
    guard let target = try await core.catalog.read({ try SchemaBranch(operation, $0) }) else {
      return
    }
    let compute = try await core.fleet.start(target.request)
    do {
      try await fill(target, on: compute)
    } catch {
      do { try await core.fleet.suspend(computeID: target.compute.id.rawValue) } catch let second {
        // The first error is the one to report.
        core.logger.warning("compute was not stopped", metadata: ["error": "\(second)"])
      }
      throw error
    }
    try await core.fleet.suspend(computeID: target.compute.id.rawValue)
  }

  private func fill(_ target: SchemaBranch, on compute: RunningCompute) async throws {
    try await core.catalog.write { tx in
      guard var line = try tx.line(target.branch.lineID) else { return }
      line.isOpened = true
      try tx.update(line)
    }
    try await core.reading.use(target.moment, of: target.source, target.project, core) {
      [core] past in
      let nothing = TenantConfiguration(roles: [], databases: [], createsDatabases: false)
      let present = try await core.tenants.apply(nothing, to: past)
      let wanted = target.configuration(of: present)
      // What an interrupted attempt left is not a whole schema.
      _ = try await core.tenants.apply(
        TenantConfiguration(
          roles: wanted.roles, databases: [], droppedDatabases: wanted.databases.map(\.name)),
        to: compute)
      _ = try await core.tenants.apply(wanted, to: compute)
      for database in wanted.databases {
        try await core.schemaTools.copySchema(
          of: database.name, from: past, to: database.name, on: compute,
          project: target.project.id.rawValue)
      }
      let names = Set(wanted.databases.map(\.name))
      try await core.catalog.write { tx in
        for row in target.databases where !names.contains(row.name) {
          try tx.deleteDatabase(row.id)
        }
      }
    }
  }

  /// A branch whose filling failed is used by nobody, and can be deleted.
  func abandonSchemaBranch(_ operation: OperationRecord, _ tx: CatalogTransaction) throws {
    guard operation.kind == OperationKind.createSchemaBranch.rawValue,
      let id = operation.branchID, var branch = try tx.branch(id), branch.state != "ready"
    else { return }
    branch.state = "failed"
    branch.stateChangedAt = core.clock.now
    try tx.update(branch)
  }
}

extension Core {
  /// Refuses what would use a `schema-only` branch that does not hold the whole schema.
  func requireFilled(_ branch: BranchRecord, doing action: String) throws {
    guard branch.initSource == BranchCreation.schemaOnly, branch.state != "ready" else { return }
    throw ControlPlaneError(
      .branchNotFilled,
      "\(action): the schema of branch '\(branch.name)' was not copied as a whole",
      hint: "its 'create_schema_branch' operation says why; delete the branch and make another")
  }
}
