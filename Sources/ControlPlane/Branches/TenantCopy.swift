import Catalog

/// Copies roles and databases of one branch to another.
struct TenantCopy {
  let core: Core
  let tx: CatalogTransaction
  let source: BranchID
  let target: BranchID

  /// Today's roles and passwords of the source, sealed anew for the target.
  /// - Parameter replacing: roles that the target has become those of the source; otherwise they
  ///   stay.
  @discardableResult
  func roles(replacing: Bool = false) throws -> [RoleRecord] {
    let present = Set(try tx.roles(of: target).map(\.name))
    let held = try held()
    return try tx.roles(of: source).filter {
      !$0.isDropped && held?.has(role: $0.name) ?? true
    }.compactMap { role in
      var copy = role
      copy.branchID = target
      copy.sealedPassword = try role.sealedPassword.map { sealed in
        let password = try core.sealer.open(
          sealed, context: Core.passwordContext(source, role.name))
        return try core.sealer.seal(password, context: Core.passwordContext(target, role.name))
      }
      guard present.contains(role.name) else { return try tx.insert(copy) }
      if replacing { try tx.update(copy) }
      return replacing ? copy : nil
    }
  }

  @discardableResult
  func databases() throws -> [DatabaseRecord] {
    let held = try held()
    return try tx.databases(of: source).filter {
      !$0.isDropped && held?.has(database: $0.name) ?? true
    }.map { database in
      var copy = database
      copy.branchID = target
      copy.id = try tx.nextDatabaseID()
      return try tx.insert(copy)
    }
  }

  private func held() throws -> AttachedTenants? {
    try tx.anyBranch(source).map { try AttachedTenants(of: $0, tx) }
  }
}

/// Rows of a line that starts at a moment.
struct NewLine {
  let core: Core
  let project: ProjectRecord

  /// Adds the line, and a lease that keeps its moment until a compute has opened it.
  /// - Parameter inheritsWindow: moments before its start count as its own.
  func insert(
    at moment: ResolvedMoment, inheritsWindow: Bool, _ tx: CatalogTransaction
  ) throws -> LineRecord {
    let now = core.clock.now
    var line = LineRecord(
      id: core.names.line(), accountID: project.accountID, plan: project.plan,
      projectID: project.id, parentID: CatalogLineID(moment.lineID), parentLSN: moment.lsn,
      isOpened: false, createdAt: now)
    line.parentTime = moment.time
    line.inheritsWindow = inheritsWindow
    try tx.insert(
      LeaseRecord(
        id: core.names.lease(), accountID: project.accountID, plan: project.plan,
        projectID: project.id, lineID: CatalogLineID(moment.lineID), lsn: moment.lsn,
        expiresAt: now.addingTimeInterval(Core.leaseDuration), createdAt: now))
    return try tx.insert(line)
  }

  /// Adds a line that starts from the template.
  func insertRoot(_ tx: CatalogTransaction) throws -> LineRecord {
    try tx.insert(
      LineRecord(
        id: core.names.line(), accountID: project.accountID, plan: project.plan,
        projectID: project.id, isOpened: false, createdAt: core.clock.now))
  }

  /// Adds a compute on `line` that no endpoint leads to yet.
  func insertCompute(
    on line: CatalogLineID, of branch: BranchID, endpoint: EndpointID? = nil,
    _ tx: CatalogTransaction
  ) throws -> ComputeRecord {
    try tx.insert(
      ComputeRecord(
        id: core.names.compute(), accountID: project.accountID, plan: project.plan,
        projectID: project.id, branchID: branch, endpointID: endpoint, lineID: line,
        createdAt: core.clock.now))
  }
}
