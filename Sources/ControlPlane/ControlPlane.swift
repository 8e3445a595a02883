import APITypes
import Catalog
import Foundation
import Logging

/// The platform behind the API, the proxy and the schedulers.
///
/// *Purpose*: projects, branches, endpoints, roles and databases, and the durable operations that
/// bring computes in line with them. Knows no HTTP.
///
/// *State and invariants*: 1. All state is in the catalog. 2. A write and the operations that it
/// starts are one transaction. 3. Writes to one project go one after the other; one that an
/// unfinished operation stands in the way of is refused with `.operationInProgress`.
///
/// *Crash*: ``run()`` of the next process goes on with what was unfinished.
///
/// *Concurrency*: everything may be called from anywhere; ``run()`` once.
///
/// *Not guarded here*: rates, and who the caller is: services take the account that was
/// authenticated.
public final class ControlPlane: Sendable {
  let core: Core
  private let engine: OperationEngine
  private let housekeeping: Housekeeping
  /// What scheduled backups do, by kind.
  private let actions: [API.BackupKind: any BackupAction]
  public let directory: EndpointDirectory
  public let alerts: AlertService

  /// - Parameters:
  ///   - node: names this process's claims on operations; the same after a restart, different on
  /// other machines.
  public convenience init(
    catalog: Catalog, fleet: any ComputeFleet,
    tenants: any TenantConfigurator = PostgresTenantConfigurator(),
    schemaTools: (any SchemaTools)? = nil, dumpTools: (any DumpTools)? = nil,
    sealer: SecretSealer,
    settings: InstallationSettings, clock: any WallClock = SystemWallClock(),
    random: Randomness = Randomness(), node: String = "serve", journal: CatalogJournal? = nil,
    logger: Logger
  ) {
    var core = Core(
      catalog: catalog, fleet: fleet, tenants: tenants, sealer: sealer, clock: clock,
      random: random, settings: settings, logger: logger)
    if let schemaTools { core.schemaTools = schemaTools }
    if let dumpTools { core.dumpTools = dumpTools }
    core.journal = journal
    self.init(core: core, engine: OperationEngine(core: core, node: node))
  }

  init(core: Core, engine: OperationEngine) {
    self.core = core
    self.engine = engine
    directory = EndpointDirectory(core: core)
    alerts = AlertService(core: core)
    actions = [.snapshot: SnapshotBackup(core: core), .dump: DumpBackup(core: core)]
    housekeeping = Housekeeping(
      core: core, directory: directory, scheduler: BackupScheduler(core: core, actions: actions))
  }

  public var projects: ProjectService { ProjectService(core: core) }
  public var branches: BranchService { BranchService(core: core) }
  public var snapshots: SnapshotService { SnapshotService(core: core) }
  public var attachments: AttachmentService { AttachmentService(core: core) }
  public var dumps: DumpService { DumpService(core: core) }
  public var schedules: ScheduleService { ScheduleService(core: core, kinds: Set(actions.keys)) }
  public var schemas: SchemaService { SchemaService(core: core) }
  public var past: PastSessions { PastSessions(core: core) }
  public var endpoints: EndpointService { EndpointService(core: core) }
  public var roles: RoleService { RoleService(core: core) }
  public var databases: DatabaseService { DatabaseService(core: core) }
  public var operations: OperationService { OperationService(core: core) }
  public var accounts: AccountService { AccountService(core: core) }
  public var administration: AccountAdministration { AccountAdministration(core: core) }
  public var permissions: PermissionService { PermissionService(core: core) }
  public var retention: RetentionService { RetentionService(core: core) }
  public var consumption: ConsumptionService { ConsumptionService(core: core) }
  public var billing: BillingService { BillingService(core: core) }
  public var connections: ConnectionURIService { ConnectionURIService(core: core) }
  public var sessions: ConsoleSessions { ConsoleSessions(core: core) }
  public var support: SupportService { SupportService(core: core) }
  public var timelines: TimelineService { TimelineService(core: core) }
  public var queries: QueryService { QueryService(core: core) }
  public var catalog: Catalog { core.catalog }
  public var sealer: SecretSealer { core.sealer }
  public var settings: InstallationSettings { core.settings }
  public var now: Date { core.clock.now }
  /// To be told by whoever watches the machine's clock, before ``run()``.
  public var clockDoubt: ClockDoubt { core.clockDoubt }
  public var verifications: VerificationService { VerificationService(core: core) }
  public var capture: CaptureService { CaptureService(core: core) }
  public var drills: DrillService { DrillService(core: core) }
  public func recovery() -> MachineRecovery { MachineRecovery(core: core) }
  /// Waits until what the caller was told is in the object store, where that is promised.
  public func settle() async throws { try await core.settle() }

  /// Lets requests be repeated that an earlier process died in before they took effect. Before the API answers: one
  /// process at a time uses a catalog, so none of them is under way.
  public func releaseRequests() async throws {
    do {
      let count = try await core.catalog.write { try $0.releaseUnansweredClaims() }
      if count > 0 {
        core.logger.info("requests were cut off", metadata: ["count": "\(count)"])
      }
    } catch let error as CatalogError where error.code == .diskFull {
      // Serve starts all the same; they are given back after ten minutes.
      core.logger.debug("claims of requests were not released", metadata: ["error": "\(error)"])
    }
  }

  /// Works on operations and schedules until the task is cancelled; what was counted is written
  /// before it returns.
  public func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.engine.run() }
      group.addTask { await self.housekeeping.run() }
      group.addTask { await self.housekeeping.measure() }
      group.addTask { await ProofWorker(core: self.core).run() }
      group.addTask { await AttachmentKeeper(core: self.core).run() }
      group.addTask { await self.alerts.run() }
      // The first error ends all: leaving the group cancels the others.
      for try await _ in group {}
    }
    try await Task { try await directory.flush() }.value
  }

  /// Gauges for `/metrics`; no tenant's names.
  public func gauges() async throws -> [Gauge] {
    let (operations, endpoints, transfer) = try await core.catalog.read { tx in
      (try tx.operationCounts(), try tx.endpointCounts(), try tx.transferByKind())
    }
    let (failing, dumps, proofs, alerts) = try await core.catalog.read { tx in
      (
        try tx.failingScheduleItemCount(), try tx.troubledDumpCounts(), try tx.proofCounts(),
        try tx.openAlerts()
      )
    }
    let states = Dictionary(
      uniqueKeysWithValues: API.EndpointState.allCases.map {
        ($0.rawValue, endpoints[$0.rawValue] ?? 0)
      })
    let openings = core.fleet.openings()
    let unfinished = ["scheduling", "running"].map { ($0, operations[$0] ?? 0) }
    return [
      Gauge("exzo_operations", "state", Dictionary(uniqueKeysWithValues: unfinished)),
      Gauge("exzo_endpoints", "state", states),
      Gauge("exzo_computes_running", await core.fleet.running().count),
      Gauge("exzo_backup_schedules_failing", failing),
      Gauge("exzo_dumps_failed", dumps.failed),
      Gauge("exzo_dumps_not_verified", dumps.unverified),
      Gauge("exzo_openings_total", "way", openings.byWay, isCounter: true),
      Gauge(
        "exzo_openings_replayed_total", "reason", openings.replayedByReason, isCounter: true),
      Gauge("exzo_data_transfer_bytes_total", "kind", transfer, isCounter: true),
      Gauge("exzo_drills_last", "status", proofs.drills),
      Gauge("exzo_verifications_last", "status", proofs.verifications),
      Gauge(
        "exzo_alerts_open", "kind",
        Dictionary(alerts.map { ($0.kind, 1) }, uniquingKeysWith: +)),
    ] + journalGauges
  }
}

extension ControlPlane {
  private var journalGauges: [Gauge] {
    guard let status = core.journal?.status else { return [] }
    return [
      Gauge("exzo_catalog_exposure_seconds", Int(status.exposure?.components.seconds ?? 0)),
      Gauge("exzo_catalog_objects_written", status.objectsWritten),
      Gauge("exzo_catalog_base_bytes", status.baseBytes),
    ]
  }
}

/// A number for `/metrics`, or several by one label.
public struct Gauge: Sendable {
  public var name: String
  public var isCounter: Bool
  /// `nil` for a single number.
  public var label: String?
  public var values: [(value: String, number: Int)]

  init(_ name: String, _ number: Int) {
    self.name = name
    isCounter = false
    values = [("", number)]
  }

  init(_ name: String, _ label: String, _ values: [String: Int], isCounter: Bool = false) {
    self.name = name
    self.label = label
    self.isCounter = isCounter
    self.values = values.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }
}
