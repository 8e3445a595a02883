import APITypes
import Catalog
import Foundation
import Synchronization

/// What the Postgres proxy needs of the platform: who may log in where, waking, and being told of
/// use.
public final class EndpointDirectory: Sendable {
  private struct Use {
    var sessions = 0
    var last: Date
  }

  private let core: Core
  private let uses = Mutex<[EndpointID: Use]>([:])
  private let transfers: TransferBatches

  init(core: Core) {
    self.core = core
    transfers = TransferBatches(writer: core.random.uuid())
  }

  /// A role at an endpoint.
  public struct Authentication: Sendable {
    public var endpointID: String
    public var branchID: String
    public var computeID: String
    /// PostgreSQL's `SCRAM-SHA-256$…`.
    public var scramVerifier: String
    public var isDisabled: Bool
    /// Addresses that may connect; `nil` where all may.
    public var allowedAddresses: AddressRules?
    /// Why the endpoint's compute may not run now, and what to do about it.
    public var quota: (reason: String, hint: String)?
  }

  /// `nil` where endpoint or role does not exist or the role cannot log in. Starts nothing.
  ///
  /// - Parameter target: an endpoint's id, or a branch's, which means its read_write endpoint.
  public func authentication(target: String, role: String) async throws -> Authentication? {
    try await core.catalog.read { tx in
      guard let endpoint = try Self.endpoint(target, tx),
        let compute = try ReplicaComputes.compute(of: endpoint, tx),
        let row = try tx.role(role, of: endpoint.branchID), row.canLogin, !row.isDropped,
        let verifier = row.scramVerifier
      else { return nil }
      var found = Authentication(
        endpointID: endpoint.id.rawValue, branchID: endpoint.branchID.rawValue,
        computeID: compute.id.rawValue, scramVerifier: verifier, isDisabled: endpoint.isDisabled)
      guard let project = try tx.project(endpoint.projectID) else { return nil }
      found.allowedAddresses = try Self.allowedAddresses(project, endpoint.branchID, tx)
      if endpoint.state != .active {
        found.quota = try QuotaService(core: self.core).breach(of: project, tx).map {
          ("endpoint '\(endpoint.id)' is suspended: \($0.reason)", $0.hint)
        }
      }
      return found
    }
  }

  static func allowedAddresses(
    _ project: ProjectRecord, _ branch: BranchID, _ tx: CatalogTransaction
  ) throws -> AddressRules? {
    guard let rules = project.settings.allowedIPs, let entries = rules.ips, !entries.isEmpty
    else { return nil }
    if rules.protectedBranchesOnly == true, try tx.branch(branch)?.isProtected != true {
      return nil
    }
    return try AddressRules(entries)
  }

  private static func endpoint(_ target: String, _ tx: CatalogTransaction) throws -> EndpointRecord?
  {
    if target.hasPrefix("br-") {
      return try tx.endpoints(of: BranchID(target)).first { $0.type == .readWrite }
    }
    return try tx.endpoint(EndpointID(target))
  }

  /// The project that an endpoint belongs to; `nil` where it is gone.
  public func project(of endpoint: String) async throws -> String? {
    try await core.catalog.read { try $0.endpoint(EndpointID(endpoint))?.projectID.rawValue }
  }

  /// Makes the endpoint's compute run and tells where. Joins a start that is under way; waits for
  /// a suspend first.
  /// - Throws: ``ControlPlaneError`` `.endpointNotFound`, `.endpointDisabled`, `.computeFailed`;
  /// `CancellationError`.
  public func wake(_ endpoint: String) async throws -> RunningCompute {
    let id = EndpointID(endpoint)
    while true {
      let generation = core.ended.generation
      let found = try await core.catalog.read { tx -> (EndpointSubject, OperationRecord?)? in
        guard let subject = try EndpointSubject(id, tx) else { return nil }
        let locks = [OperationLock.endpoint(id), OperationLock.project(subject.project.id)]
        return (subject, try tx.holder(of: locks, in: subject.project.id))
      }
      guard let (subject, holder) = found else {
        throw ControlPlaneError(.endpointNotFound, "wake endpoint '\(id)': there is none")
      }
      if let running = try await runningCompute(of: subject, beside: holder) {
        // Commits of the session must find their line again after a recovery.
        if subject.project.durability == ProjectRecord.objectStoreDurability {
          try await core.settle()
        }
        return running
      } else if let holder {
        await core.ended.wait(since: generation, timeout: .milliseconds(250))
        try Task.checkCancellation()
        try await checkOutcome(of: holder)
      } else {
        try await start(subject)
      }
    }
  }

  /// The compute, if the catalog and the fleet agree that it runs, and no operation is about to change it.
  /// - Parameter holder: the operation that is under way.
  private func runningCompute(
    of subject: EndpointSubject, beside holder: OperationRecord?
  ) async throws -> RunningCompute? {
    guard subject.endpoint.state == .active,
      subject.running != nil || subject.endpoint.type == .readOnly,
      holder.map({ OperationKind.besideClients.has($0) }) ?? true
    else { return nil }
    let found = await core.fleet.running(line: subject.compute.lineID.rawValue)
    return found?.computeID == subject.compute.id.rawValue ? found : nil
  }

  private func start(_ subject: EndpointSubject) async throws {
    let endpoint = subject.endpoint
    do {
      _ = try await EndpointService(core: core).change(
        endpoint.id, endpoint.projectID, endpoint.accountID, .startCompute, to: .active
      ) { _ in true }
    } catch let error as ControlPlaneError where error.code == .operationInProgress {
      // Of the branch, or one that began in this moment.
      await core.ended.wait(since: core.ended.generation, timeout: .milliseconds(250))
      try Task.checkCancellation()
    }
  }

  /// A start that failed is told to those who wait for it.
  private func checkOutcome(of operation: OperationRecord) async throws {
    guard let now = try await core.catalog.read({ try $0.operation(operation.id) }),
      now.status == .failed || now.status == .skipped, OperationKind.starts.has(now)
    else { return }
    throw ControlPlaneError(
      .computeFailed, "wake endpoint '\(now.endpointID?.rawValue ?? "")': \(now.error ?? "failed")")
  }

  // MARK: use

  /// A client has logged in; endpoints with sessions are in use.
  public func sessionOpened(endpointID: String) {
    let now = core.clock.now
    uses.withLock { uses in
      uses[EndpointID(endpointID), default: Use(last: now)].sessions += 1
    }
  }

  public func sessionClosed(endpointID: String) {
    let now = core.clock.now
    uses.withLock { uses in
      var use = uses[EndpointID(endpointID)] ?? Use(last: now)
      use.sessions = max(0, use.sessions - 1)
      use.last = now
      uses[EndpointID(endpointID)] = use
    }
  }

  /// Adds bytes sent to clients; kept in memory until ``flush()``.
  public func record(transfer bytes: Int, endpointID: String, kind: String) {
    transfers.add(bytes, endpoint: EndpointID(endpointID), kind: kind)
  }

  /// The same for a branch that no endpoint serves, as at a moment of one.
  public func record(transfer bytes: Int, branchID: String, kind: String) {
    transfers.add(bytes, branch: BranchID(branchID), kind: kind)
  }

  /// When each endpoint was last in use, as far as this process saw; now for those with sessions.
  func lastUses() -> [EndpointID: Date] {
    let now = core.clock.now
    return uses.withLock { uses in uses.mapValues { $0.sessions > 0 ? now : $0.last } }
  }

  /// Writes what was counted to the catalog: nothing is lost where that fails, and nothing counts
  /// twice where its success was not learnt of.
  func flush() async throws {
    let now = core.clock.now
    let batch = transfers.take(at: now)
    let used = lastUses()
    guard batch != nil || !used.isEmpty else { return }
    let writer = transfers.writer
    try await core.catalog.write { tx in
      if let batch, try tx.beginBatch(batch.sequence, of: writer, at: now) {
        for increment in batch.increments { try tx.addTransfer(increment, at: batch.date) }
      }
      for (endpoint, date) in used.sorted(by: { $0.key < $1.key }) {
        try tx.touchEndpoint(endpoint, at: date)
      }
    }
    if let batch { transfers.written(batch) }
    uses.withLock { uses in
      uses = uses.filter { $0.value.sessions > 0 || $0.value.last > used[$0.key] ?? .distantPast }
    }
  }
}
