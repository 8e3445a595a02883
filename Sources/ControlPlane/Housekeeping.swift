import APITypes
import Catalog
import Foundation

/// What happens by itself: idle endpoints are suspended, branches expire, old keys and leases go.
public struct Housekeeping: Sendable {
  let core: Core
  let directory: EndpointDirectory
  let scheduler: BackupScheduler?
  private let meter: UsageMeter

  init(core: Core, directory: EndpointDirectory, scheduler: BackupScheduler? = nil) {
    self.core = core
    self.directory = directory
    self.scheduler = scheduler
    meter = UsageMeter(core: core)
  }

  private static let expiredBatch = 100
  /// How long a repeated request gets its first answer; seconds.
  private static let idempotencySeconds: TimeInterval = 86_400

  /// Runs a round every `interval` until the task is cancelled; a failed round is logged and the
  /// next one tries again.
  public func run(every interval: Duration = .seconds(1)) async {
    await PausedLoop(every: interval).run(
      onFailure: { core.logger.error("housekeeping failed", metadata: ["error": "\($0)"]) },
      {
        try await round()
        return false
      })
  }

  /// Measures sizes and removes dumps until the task is cancelled; beside ``run(every:)``, because
  /// it takes long.
  func measure(every interval: Duration = .seconds(5)) async {
    await PausedLoop(every: interval).run(
      onFailure: {
        core.logger.error(
          "measuring sizes or removing dumps failed", metadata: ["error": "\($0)"])
      },
      {
        try await meter.measure()
        try await TenantSync(core: core).round()
        try await DumpHousekeeping(core: core).round()
        return false
      })
  }

  /// One round; what it started runs as operations.
  public func round() async throws {
    try await directory.flush()
    try await meter.round()
    try await QuotaService(core: core).enforce()
    try await suspendIdle()
    try await deleteExpired()
    try await core.reading.endIdle(core)
    try await ReplicaComputes(core: core).round()
    try await scheduler?.round()
    let now = core.clock.now
    try await core.catalog.write { tx in
      try tx.expireLeases(before: now)
      try tx.expireSnapshots(at: now)
      try tx.expireIdempotencyKeys(before: now.addingTimeInterval(-Self.idempotencySeconds))
    }
  }

  private func suspendIdle() async throws {
    let now = core.clock.now
    let uses = directory.lastUses()
    for endpoint in try await core.catalog.read({ try $0.endpoints(in: .active) }) {
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
