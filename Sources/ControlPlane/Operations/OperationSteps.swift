import APITypes
import Catalog
import Crypto
import Foundation

/// The effects of operations: thin, and harmless when done twice.
struct OperationSteps: Sendable {
  let core: Core

  func perform(_ step: OperationStep, of operation: OperationRecord) async throws {
    switch step {
    case .makeRootLine: try await makeRootLine(operation)
    case .markBranchReady: try await markBranchReady(operation)
    case .startCompute: try await startCompute(operation)
    case .configureTenants: try await configureTenants(operation)
    case .markActive: try await markActive(operation)
    case .stopCompute: try await stopCompute(operation)
    case .markIdle: try await markIdle(operation)
    case .restartIfActive: try await restartIfActive(operation)
    case .configureIfActive: try await configureIfActive(operation)
    case .stopComputes: try await stopComputes(operation)
    case .destroyComputes: try await destroyComputes(operation)
    case .openRestoredLine: try await openRestoredLine(operation)
    case .moveBranchPointer: try await moveBranchPointer(operation)
    case .openFinalizedLine: try await openFinalizedLine(operation)
    case .exchangeBranches: try await exchangeBranches(operation)
    case .configureRestored: try await configureRestored(operation)
    case .dropFormerSessions: try await dropFormerSessions(operation)
    case .discardCompute: try await discardCompute(operation)
    case .copySchema: try await copySchema(operation)
    case .makeDump: try await makeDump(operation)
    case .verifyDump: try await verifyDump(operation)
    case .restoreDump: try await restoreDump(operation)
    case .recoverTable: try await recoverTable(operation)
    case .copySource: try await copySource(operation)
    case .releaseSource: try await releaseSource(operation)
    case .releaseFormer: try await releaseFormer(operation)
    }
  }

  /// Brings objects of a failed operation to a state from which the user can go on.
  func abandon(_ operation: OperationRecord, _ tx: CatalogTransaction) throws {
    try abandonRestore(operation, tx)
    try abandonDump(operation, tx)
    try abandonAttachment(operation, tx)
    try abandonSchemaBranch(operation, tx)
    guard let id = operation.endpointID, var endpoint = try tx.endpoint(id),
      endpoint.pendingState != nil
    else { return }
    if endpoint.state == .`init` || endpoint.pendingState == .active { endpoint.state = .idle }
    endpoint.pendingState = nil
    endpoint.updatedAt = core.clock.now
    try tx.update(endpoint)
  }

  private func makeRootLine(_ operation: OperationRecord) async throws {
    let (project, branch) = try await core.catalog.read { tx in
      (try tx.project(operation.projectID), try operation.branchID.flatMap { try tx.branch($0) })
    }
    guard let project, let branch else { return }
    _ = try await core.fleet.createRoot(
      RootRequest(
        lineID: branch.lineID.rawValue, projectID: project.id.rawValue, major: project.pgVersion))
  }

  private func markBranchReady(_ operation: OperationRecord) async throws {
    try await core.catalog.write { tx in
      guard let id = operation.branchID, var branch = try tx.branch(id), branch.state != "ready"
      else { return }
      branch.state = "ready"
      branch.stateChangedAt = core.clock.now
      try tx.update(branch)
    }
  }

  /// What a step of an endpoint works on; throws where the endpoint was deleted meanwhile.
  private func subject(_ operation: OperationRecord) async throws -> EndpointSubject {
    let subject = try await core.catalog.read { tx -> EndpointSubject? in
      guard let id = operation.endpointID else { return nil }
      return try EndpointSubject(id, tx)
    }
    guard let subject else {
      throw ControlPlaneError(
        .endpointNotFound, "work on endpoint '\(operation.endpointID?.rawValue ?? "")': it is gone")
    }
    return subject
  }

  private func startCompute(_ operation: OperationRecord) async throws {
    let subject = try await subject(operation)
    if subject.endpoint.type == .readOnly {
      try await ReplicaComputes(core: core).open(subject)
    } else {
      try await start(subject)
    }
  }

  /// Starts the subject's compute and notes where it runs.
  func start(_ subject: EndpointSubject) async throws {
    let running = try await core.fleet.start(subject.request)
    try await core.catalog.write { tx in
      guard var compute = try tx.compute(subject.compute.id),
        var line = try tx.line(subject.line.id)
      else { return }
      compute.socketDirectory = running.socketDirectory
      compute.port = running.port
      compute.pid = Int(running.pid)
      compute.startedAt = running.startedAt
      try tx.update(compute)
      guard !line.isOpened else { return }
      line.isOpened = true
      try tx.update(line)
    }
  }

  private func configureTenants(_ operation: OperationRecord) async throws {
    let subject = try await subject(operation)
    // A replica has what its branch has.
    guard subject.endpoint.type == .readWrite else { return }
    guard let running = subject.running else {
      throw ComputeFleetError(.temporary, "configure '\(subject.endpoint.id)': it does not run")
    }
    try await configure(subject, running)
  }

  /// Applies roles and databases unless the line has exactly these already.
  func configure(_ subject: EndpointSubject, _ running: RunningCompute) async throws {
    let wanted = subject.configuration
    let fingerprint = try Self.fingerprint(wanted)
    guard subject.line.configuration != fingerprint else { return }
    let contents = try await core.tenants.apply(wanted, to: running)
    try await core.catalog.write { tx in
      try TenantReconciliation(core: core, subject: subject, contents: contents).apply(tx)
      guard var line = try tx.line(subject.line.id),
        let after = try EndpointSubject(subject.endpoint.id, tx)
      else { return }
      let applied = after.appliedConfiguration
      line.configuration = try Self.fingerprint(applied)
      // Changes that came in meanwhile have their own operation, which must not find this one's
      // mark.
      if applied.roles != wanted.roles { line.configuration = "" }
      try tx.update(line)
    }
  }

  static func fingerprint(_ configuration: TenantConfiguration) throws -> String {
    let digest = SHA256.hash(data: try APICoding.encode(configuration))
    return digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  private func markActive(_ operation: OperationRecord) async throws {
    try await core.catalog.write { tx in
      guard let id = operation.endpointID, var endpoint = try tx.endpoint(id) else { return }
      let now = core.clock.now
      endpoint.state = .active
      endpoint.pendingState = nil
      endpoint.startedAt = now
      endpoint.lastActiveAt = now
      endpoint.suspendedAt = nil
      endpoint.updatedAt = now
      try tx.update(endpoint)
    }
  }

  private func stopCompute(_ operation: OperationRecord) async throws {
    let subject = try await subject(operation)
    if subject.endpoint.type == .readOnly {
      try await ReplicaComputes(core: core).close(subject.compute.lineID.rawValue)
    } else {
      try await core.fleet.suspend(computeID: subject.compute.id.rawValue)
    }
  }

  private func markIdle(_ operation: OperationRecord) async throws {
    try await core.catalog.write { tx in
      guard let id = operation.endpointID, let endpoint = try tx.endpoint(id) else { return }
      try Self.setIdle(endpoint, tx, at: core.clock.now)
    }
  }

  static func setIdle(_ endpoint: EndpointRecord, _ tx: CatalogTransaction, at now: Date) throws {
    var endpoint = endpoint
    endpoint.state = .idle
    endpoint.pendingState = nil
    endpoint.suspendedAt = now
    endpoint.updatedAt = now
    try tx.update(endpoint)
    guard var compute = try tx.compute(of: endpoint.id) else { return }
    compute.clearPlace()
    try tx.update(compute)
  }

  private func restartIfActive(_ operation: OperationRecord) async throws {
    let subject = try await subject(operation)
    guard subject.endpoint.state == .active else { return try await settle(operation) }
    try await stopCompute(operation)
    try await startCompute(operation)
    try await configureTenants(operation)
    try await markActive(operation)
  }

  private func settle(_ operation: OperationRecord) async throws {
    try await core.catalog.write { try abandon(operation, $0) }
  }

  private func configureIfActive(_ operation: OperationRecord) async throws {
    guard let branch = operation.branchID else { return }
    let endpoints = try await core.catalog.read { tx in
      try tx.endpoints(of: branch).filter { $0.type == .readWrite }
    }
    for endpoint in endpoints {
      let subject = try await core.catalog.read { try EndpointSubject(endpoint.id, $0) }
      guard let subject else { continue }
      if endpoint.state == .active, let running = subject.running {
        try await configure(subject, running)
      } else if endpoint.state == .idle, subject.configuration.removesDatabases {
        // The name is free again only when the database is gone.
        if endpoint.isDisabled {
          try await configureUnseen(subject)
        } else {
          try await wake(operation, subject)
        }
      }
    }
    if endpoints.isEmpty { try await removeDatabases(of: branch, operation) }
  }

  /// Brings the compute of an endpoint up to date that no client may use, and stops it again.
  private func configureUnseen(_ subject: EndpointSubject) async throws {
    do {
      try await start(subject)
      let started = try await core.catalog.read { try EndpointSubject(subject.endpoint.id, $0) }
      guard let started, let running = started.running else {
        throw ComputeFleetError(
          .temporary, "configure '\(subject.endpoint.id)': it does not run")
      }
      try await configure(started, running)
    } catch {
      do { try await stop(subject.compute.id) } catch let second {
        // The first error is the one to report.
        core.logger.warning("compute was not stopped", metadata: ["error": "\(second)"])
      }
      throw error
    }
    try await stop(subject.compute.id)
  }

  private func stop(_ id: ComputeID) async throws {
    try await core.fleet.suspend(computeID: id.rawValue)
    try await core.catalog.write { tx in
      guard var compute = try tx.compute(id) else { return }
      compute.clearPlace()
      try tx.update(compute)
    }
  }

  /// Of a branch without an endpoint that writes: a compute is started for it and stopped after it.
  private func removeDatabases(of branch: BranchID, _ operation: OperationRecord) async throws {
    let gone = try await core.catalog.read { tx in
      try tx.databases(of: branch).filter(\.isDropped)
    }
    guard !gone.isEmpty else { return }
    let removal = TenantConfiguration(
      roles: [], databases: [], droppedDatabases: gone.map { $0.renamedFrom ?? $0.name },
      createsDatabases: false)
    let compute = TargetCompute(core: core, steps: self, operation: operation)
    try await compute.use { [core] target in
      _ = try await core.tenants.apply(removal, to: target.running)
      try await core.catalog.write { tx in
        for database in gone { try tx.deleteDatabase(database.id) }
      }
    }
  }

  /// Starts the compute of a sleeping endpoint and brings it up to date; it goes to sleep again by
  /// itself.
  private func wake(_ operation: OperationRecord, _ subject: EndpointSubject) async throws {
    var start = operation
    start.endpointID = subject.endpoint.id
    try await startCompute(start)
    try await configureTenants(start)
    try await markActive(start)
  }

  /// Stops the computes of a deleted endpoint. Volume and row stay: the branch's next endpoint
  /// goes on with them.
  private func stopComputes(_ operation: OperationRecord) async throws {
    try await ReplicaComputes(core: core).closeAll(of: operation)
    for compute in try await computes(of: operation) {
      try await core.fleet.suspend(computeID: compute.id.rawValue)
      var stopped = compute
      stopped.clearPlace()
      let record = stopped
      try await core.catalog.write { try $0.update(record) }
    }
  }

  private func destroyComputes(_ operation: OperationRecord) async throws {
    guard try await isStillWanted(operation) else { return }
    // They follow what goes with their branch.
    try await ReplicaComputes(core: core).closeAll(of: operation)
    for compute in try await computes(of: operation) {
      try await core.fleet.destroy(
        computeID: compute.id.rawValue, line: compute.lineID.rawValue)
      try await core.catalog.write { try $0.deleteCompute(compute.id) }
    }
  }

  /// Whether what a deletion takes away is deleted still: it may have been tried for long.
  private func isStillWanted(_ operation: OperationRecord) async throws -> Bool {
    guard let kind = OperationKind(rawValue: operation.kind),
      kind == .deleteBranch || kind == .deleteProject
    else { return true }
    return try await core.catalog.read { tx in
      guard let project = try tx.project(operation.projectID), project.deletedAt == nil else {
        return true
      }
      guard kind == .deleteBranch, let id = operation.branchID else { return false }
      // Found only while it is not deleted.
      return try tx.branch(id) == nil
    }
  }

  /// Of the operation's endpoint, else of its branch, else of the whole project.
  private func computes(of operation: OperationRecord) async throws -> [ComputeRecord] {
    try await core.catalog.read { tx in
      try tx.computes(
        project: operation.projectID, branch: operation.branchID, endpoint: operation.endpointID)
    }
  }
}

extension ComputeRecord {
  /// Forgets where the compute runs.
  mutating func clearPlace() {
    socketDirectory = nil
    port = nil
    pid = nil
    startedAt = nil
  }
}
