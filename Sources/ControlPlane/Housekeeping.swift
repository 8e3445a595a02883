import APITypes
import Catalog
import Foundation

/// What happens by itself: use is counted, idle endpoints are suspended, branches expire, schedules run, old keys and
/// leases go.
///
/// *State and invariants*: 1. Counting waits for nothing else: what a kill of `serve` may lose is what came since its
/// last round. 2. A step that fails is logged by its name and keeps no other from being done. 3. While the machine's
/// clock is doubted (``ClockDoubt``), no branch, snapshot, lease, dump or key ends by it.
///
/// *Concurrency*: ``run(every:)`` and ``measure(every:)`` once each.
public struct Housekeeping: Sendable {
  let core: Core
  let directory: EndpointDirectory
  let scheduler: BackupScheduler?
  private let meter: UsageMeter
  private let leftWAL: LeftWAL
  private let dumps: DumpHousekeeping

  private struct Step {
    var name: String
    /// Every how many rounds it is done: an installation in which nothing happens is to cost next to nothing.
    var rounds: Int
    var work: @Sendable () async throws -> Void

    init(
      _ name: String, rounds: Int = 1, _ work: @escaping @Sendable () async throws -> Void
    ) {
      self.name = name
      self.rounds = rounds
      self.work = work
    }
  }

  init(core: Core, directory: EndpointDirectory, scheduler: BackupScheduler? = nil) {
    self.core = core
    self.directory = directory
    self.scheduler = scheduler
    meter = UsageMeter(core: core)
    leftWAL = LeftWAL(core: core)
    dumps = DumpHousekeeping(core: core)
  }

  private static let expiredBatch = 100
  /// How long a repeated request gets its first answer; seconds.
  private static let idempotencySeconds: TimeInterval = 86_400

  /// Does everything but ``measure(every:)`` every `interval` until the task is cancelled: counting, what is to be kept
  /// in order and schedules, beside each other.
  public func run(every interval: Duration = .seconds(1)) async {
    await withTaskGroup(of: Void.self) { group in
      for steps in [counting, keeping, scheduling] {
        group.addTask { await repeatedly(steps, every: interval) }
      }
    }
  }

  /// Measures sizes and removes dumps until the task is cancelled; beside ``run(every:)``, because
  /// it takes long.
  func measure(every interval: Duration = .seconds(5)) async {
    await repeatedly(measuring, every: interval)
  }

  /// One round of everything that ``run(every:)`` does, one after the other; what it started runs as operations.
  /// - Throws: `CancellationError` only.
  public func round() async throws {
    try await perform(counting + keeping + scheduling)
  }

  private func repeatedly(_ steps: [Step], every interval: Duration) async {
    var round = 0
    await PausedLoop(every: interval).run(
      onFailure: { core.logger.error("housekeeping failed", metadata: ["error": "\($0)"]) },
      {
        defer { round += 1 }
        try await perform(steps.filter { round.isMultiple(of: $0.rounds) })
        return false
      })
  }

  private func perform(_ steps: [Step]) async throws {
    for step in steps {
      do {
        try await step.work()
      } catch let error as CancellationError {
        throw error
      } catch {
        core.logger.error(
          "housekeeping failed", metadata: ["step": "\(step.name)", "error": "\(error)"])
      }
    }
  }

  private var counting: [Step] {
    [
      Step("count transfer") { try await directory.flush() },
      Step("count time and WAL") { try await meter.round() },
    ]
  }

  private var keeping: [Step] {
    [
      Step("enforce quotas") { try await QuotaService(core: core).enforce() },
      Step("suspend idle endpoints") { try await suspendIdle() },
      Step("store what accidents left", rounds: 20) { try await leftWAL.round() },
      Step("delete expired branches", rounds: 5) { try await deleteExpired() },
      Step("end past moments") { try await core.reading.endIdle(core) },
      Step("keep replicas") { try await ReplicaComputes(core: core).round() },
      Step("expire rows", rounds: 10) { try await expireRows() },
    ]
  }

  private var scheduling: [Step] {
    [Step("run schedules", rounds: 5) { try await scheduler?.round() }]
  }

  private var measuring: [Step] {
    [
      Step("measure sizes") { try await meter.measure() },
      Step("note roles and databases") { try await TenantSync(core: core).round() },
      Step("remove dumps") { try await dumps.round() },
    ]
  }

  private func expireRows() async throws {
    let now = core.clock.now
    guard !core.clockDoubt.isDoubted else { return }
    try await core.catalog.write { tx in
      try tx.expireLeases(before: now)
      try tx.expireSnapshots(
        at: now, projectsDeletedBefore: now.addingTimeInterval(-Presenter.recoverySeconds))
      try tx.expireIdempotencyKeys(before: now.addingTimeInterval(-Self.idempotencySeconds))
    }
  }

  private func suspendIdle() async throws {
    let now = core.clock.now
    let uses = directory.lastUses()
    for endpoint in try await core.activeEndpoints() {
      let timeout =
        endpoint.suspendTimeoutSeconds == 0
        ? core.settings.defaultSuspendSeconds : endpoint.suspendTimeoutSeconds
      guard timeout > 0 else { continue }
      let last = [endpoint.lastActiveAt, endpoint.startedAt, uses[endpoint.id]].compactMap { $0 }
        .max()
      guard now.timeIntervalSince(last ?? endpoint.createdAt) >= Double(timeout) else { continue }
      try await ignoringConflicts {
        _ = try await EndpointService(core: core).suspend(
          endpoint.id, project: endpoint.projectID, account: endpoint.accountID)
      }
    }
  }

  private func deleteExpired() async throws {
    let now = core.clock.now
    guard !core.clockDoubt.isDoubted else { return }
    let expired = try await core.catalog.read {
      try $0.expiredBranches(at: now, limit: Self.expiredBatch)
    }
    for branch in expired {
      try await ignoringConflicts {
        _ = try await BranchService(core: core).delete(
          branch.id, project: branch.projectID, account: branch.accountID, method: "ttl")
      }
    }
  }

  /// What cannot be done now, because of an operation or of children, is tried again next time.
  private func ignoringConflicts(_ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch let error as ControlPlaneError {
      core.logger.debug("housekeeping waits", metadata: ["reason": "\(error)"])
    }
  }
}
