import APITypes
import Catalog
import Foundation
import Logging

/// What is the same for the whole installation.
public struct InstallationSettings: Sendable {
  /// Endpoints are host names below it; without one, the endpoint goes into the connection's
  /// options.
  public var domain: String?
  /// Where clients reach the proxy when there is no domain.
  public var postgresHost: String
  public var postgresPort: Int
  public var regionID: String
  /// PostgreSQL's major versions that can be run here, the default last.
  public var majors: [Int]
  /// Idle time until an endpoint is suspended that does not say otherwise; seconds.
  public var defaultSuspendSeconds: Int
  /// Requests of one account; 0 sets no limit.
  public var requestsPerMinute: Int
  /// Whether `-pooler` names pool.
  public var hasPooler: Bool
  public var proofs: ProofSettings
  public var alerts: AlertSettings
  /// Lets SQL that is run for a caller of the API count as coming from that caller's address. Known to
  /// this process only.
  public let callerSecret = Randomness().text(32)
  /// What is wrong on this machine: versions and checks, for support bundles.
  public var machineReport: @Sendable () async -> API.MachineReport = { API.MachineReport() }

  public init(
    domain: String? = nil, postgresHost: String = "127.0.0.1", postgresPort: Int = 5433,
    regionID: String = "local", majors: [Int] = [15], defaultSuspendSeconds: Int = 300,
    requestsPerMinute: Int = 700, hasPooler: Bool = false, proofs: ProofSettings = ProofSettings(),
    alerts: AlertSettings = AlertSettings()
  ) {
    precondition(!majors.isEmpty, "no PostgreSQL version")
    self.domain = domain
    self.postgresHost = postgresHost
    self.postgresPort = postgresPort
    self.regionID = regionID
    self.majors = majors
    self.defaultSuspendSeconds = defaultSuspendSeconds
    self.requestsPerMinute = requestsPerMinute
    self.hasPooler = hasPooler
    self.proofs = proofs
    self.alerts = alerts
  }
}

/// What all services share.
struct Core: Sendable {
  let catalog: Catalog
  let fleet: any ComputeFleet
  let tenants: any TenantConfigurator
  let sealer: SecretSealer
  let clock: any WallClock
  let random: Randomness
  var settings: InstallationSettings
  let logger: Logger
  var schemaTools: any SchemaTools = NoSchemaTools()
  var dumpTools: any DumpTools = NoDumpTools()
  /// The catalog's copy in the object store; `nil` where there is none, as in tests.
  var journal: CatalogJournal?
  /// Computes that serve past moments for reading.
  let reading = ReadingComputes()
  /// Why lines that should follow a server elsewhere do not begin to, by line.
  let notFollowed = Troubles()
  /// What the second store complains of.
  let mirrorFailures = Troubles()
  /// Asked before what keeps history ends by the time.
  let clockDoubt = ClockDoubt()
  private let active = ActiveEndpoints()
  /// What timelines' events were found to be.
  let eventNames = EventNames()
  /// Fired when operations were added.
  let added = Signal()
  /// Fired when an operation came to its end.
  let ended = Signal()

  /// How long an acknowledgement waits for the object store.
  private static let settleTimeout: Duration = .seconds(30)

  /// Waits until the catalog's changes are in the object store, where something is promised not to be
  /// lost with the machine.
  /// - Throws: ``ControlPlaneError`` `.unpublished`: the change is made, and may be lost with the machine.
  func settle() async throws {
    guard let journal, journal.isBehind, try await catalog.read({ try $0.holdsDurableProjects() })
    else { return }
    do { try await journal.settle(timeout: Self.settleTimeout) } catch let error as CatalogError
      where error.code == .unpublished || error.code == .fenced
    {
      throw ControlPlaneError(
        .unpublished, error.message,
        hint:
          "the change is made on this machine; repeat the request with the same Idempotency-Key, "
          + "or read the object, once the object store answers")
    }
  }

  func activeEndpoints() async throws -> [EndpointRecord] { try await active.all(catalog) }

  var names: NameGenerator { NameGenerator(random: random) }

  /// A lease on a resolved LSN outlasts the request and the start of its compute.
  static let leaseDuration: TimeInterval = 600

  /// Refuses the request while an unfinished operation holds one of `locks`.
  func requireFree(
    _ tx: CatalogTransaction, _ project: ProjectID, _ locks: [String], doing action: String
  ) throws {
    let locks = locks + [OperationLock.project(project)]
    guard let holder = try tx.holder(of: locks, in: project) else { return }
    throw ControlPlaneError(
      .operationInProgress, "\(action): operation '\(holder.id)' (\(holder.kind)) is running",
      hint: "try again when it has finished")
  }

  /// The caller's project, with its row lock, so that writes to it go one after the other.
  func lock(
    _ tx: CatalogTransaction, _ id: ProjectID, of account: AccountID, includesDeleted: Bool = false
  ) throws -> ProjectRecord {
    guard let project = try tx.lockProject(id, of: account),
      includesDeleted || project.deletedAt == nil
    else {
      throw ControlPlaneError(.projectNotFound, "find project '\(id)': there is none")
    }
    return project
  }

  func project(
    _ tx: CatalogTransaction, _ id: ProjectID, of account: AccountID, includesDeleted: Bool = false
  ) throws -> ProjectRecord {
    guard let project = try tx.project(id, of: account),
      includesDeleted || project.deletedAt == nil
    else {
      throw ControlPlaneError(.projectNotFound, "find project '\(id)': there is none")
    }
    return project
  }

  func branch(
    _ tx: CatalogTransaction, _ id: BranchID, of project: ProjectID
  ) throws -> BranchRecord {
    guard let branch = try tx.branch(id, of: project), branch.deletedAt == nil else {
      throw ControlPlaneError(
        .branchNotFound, "find branch '\(id)' in project '\(project)': there is none")
    }
    return branch
  }

  /// The branch, deleted or not, and whether all that it had is deleted with it or with its project: to delete that once
  /// more is answered as the first time.
  func branchOrDeleted(
    _ tx: CatalogTransaction, _ id: BranchID, of project: ProjectID, account: AccountID
  ) throws -> (branch: BranchRecord, isDeleted: Bool) {
    let project = try self.project(tx, project, of: account, includesDeleted: true)
    guard let branch = try tx.branch(id, of: project.id) else {
      throw ControlPlaneError(
        .branchNotFound, "find branch '\(id)' in project '\(project.id)': there is none")
    }
    return (branch, branch.deletedAt != nil || project.deletedAt != nil)
  }

  func endpoint(
    _ tx: CatalogTransaction, _ id: EndpointID, of project: ProjectID
  ) throws -> EndpointRecord {
    guard let endpoint = try tx.endpoint(id, of: project), endpoint.deletedAt == nil else {
      throw ControlPlaneError(
        .endpointNotFound, "find endpoint '\(id)' in project '\(project)': there is none")
    }
    return endpoint
  }

  static func passwordContext(_ branch: BranchID, _ role: String) -> String {
    "role \(branch) \(role)"
  }
}
