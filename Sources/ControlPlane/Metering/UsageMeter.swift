import APITypes
import Catalog
import Foundation
import PostgresFormat
import Synchronization

/// Counts what computes use: time, WAL, and what is stored.
///
/// # Purpose
/// Hourly sums for each branch, from which counters, consumption histories, quotas and estimates
/// are made. Bytes sent to clients are the ``EndpointDirectory``'s.
/// # State and invariants
/// 1. Time and WAL are counted up to a mark that moves in the transaction that adds them: nothing
///    counts twice, whenever `serve` dies.
/// 2. A compute that outlives `serve` is counted for the time in between when `serve` is back. One
///    that stopped loses the time since its last mark: a round, which is a second.
/// 3. Storage counts by the whole hour, by the last known size at the hour's end.
/// # Concurrency
/// One caller at a time: the housekeeping.
/// # Not guarded here
/// WAL is counted by position: padding after a forced segment switch counts as written.
final class UsageMeter: Sendable {
  private let core: Core
  /// When sizes were last measured, by compute; and up to which hour storage is accounted.
  private let measured = Mutex<[String: Date]>([:])
  private let accounted = Mutex<Date?>(nil)

  /// Seconds between two measurements of one compute's sizes.
  static let measureInterval: TimeInterval = 60
  /// The same of what does not run: its history still shrinks when the collector evicts.
  static let sleepingInterval: TimeInterval = 3600
  /// Of those in one round.
  private static let sleepingBatch = 20
  private static let storageSetting = "storage_metered_until"

  init(core: Core) { self.core = core }

  /// Counts up to now.
  func round() async throws {
    let running = try await running()
    let replicas = try await runningReplicas()
    let now = core.clock.now
    if !running.isEmpty || !replicas.isEmpty {
      try await core.catalog.write { tx in
        for compute in running { try self.count(compute, now, tx) }
        for replica in replicas { try self.countReplica(replica, now, tx) }
      }
    }
    try await accountStorage(now)
  }

  /// Computes that the catalog takes for active and that do run. Suspended ones cost nothing.
  private func running() async throws -> [RunningCompute] {
    let active = try await core.activeEndpoints()
    if active.isEmpty { return [] }
    let computes = try await core.catalog.read { tx in
      try active.compactMap { try tx.compute(of: $0.id) }
    }
    var running: [RunningCompute] = []
    for compute in computes {
      guard let found = await core.fleet.running(line: compute.lineID.rawValue),
        found.computeID == compute.id.rawValue
      else { continue }
      running.append(found)
    }
    return running
  }

  /// Endpoints whose replicas run. These cost time alone: what they hold is their branch's.
  private func runningReplicas() async throws -> [EndpointID] {
    var running: [EndpointID] = []
    for endpoint in try await core.activeEndpoints().filter({ $0.type == .readOnly }).map(\.id)
    where await core.fleet.running(line: ReplicaComputes.id(of: endpoint)) != nil {
      running.append(endpoint)
    }
    return running
  }

  private func countReplica(
    _ id: EndpointID, _ now: Date, _ tx: CatalogTransaction
  ) throws {
    guard let endpoint = try tx.endpoint(id), endpoint.state == .active,
      let startedAt = endpoint.startedAt, let branch = try tx.branch(endpoint.branchID)
    else { return }
    try countTime(of: endpoint, by: id.rawValue, branch, startedAt, now, tx)
  }

  private func count(_ running: RunningCompute, _ now: Date, _ tx: CatalogTransaction) throws {
    guard let compute = try tx.compute(ComputeID(running.computeID)),
      let id = compute.endpointID, let endpoint = try tx.endpoint(id), endpoint.state == .active,
      let startedAt = endpoint.startedAt, let branch = try tx.branch(compute.branchID)
    else { return }
    try countTime(of: endpoint, by: compute.id.rawValue, branch, startedAt, now, tx)
    try countWritten(running, branch, now, tx)
  }

  /// - Parameter subject: whose mark it is.
  private func countTime(
    of endpoint: EndpointRecord, by subject: String, _ branch: BranchRecord,
    _ startedAt: Date, _ now: Date, _ tx: CatalogTransaction
  ) throws {
    let mark = try tx.usageMark(subject)
    var from = max(mark?.countedUntil ?? startedAt, startedAt)
    while from < now {
      let hour = CalendarUTC.start(of: .hourly, holding: from)
      let end = min(now, CalendarUTC.next(.hourly, after: hour))
      var totals = UsageTotals()
      totals.activeMilliseconds = Int((end.timeIntervalSince(from) * 1000).rounded())
      totals.computeMilliseconds = Int(
        (Double(totals.activeMilliseconds) * endpoint.computeUnitsMaximum).rounded())
      try tx.addUsage(totals, branch: branch, hour: hour, at: now)
      from = end
    }
    try tx.set(
      UsageMarkRecord(
        subject: subject, projectID: branch.projectID, countedUntil: from,
        createdAt: now))
  }

  private func countWritten(
    _ running: RunningCompute, _ branch: BranchRecord, _ now: Date, _ tx: CatalogTransaction
  ) throws {
    guard let counters = running.counters else { return }
    let written = counters.writtenLSN
    let mark = try tx.usageMark(running.lineID)
    let from = mark?.position ?? counters.startLSN ?? written
    guard mark == nil || written > from else { return }
    if written > from {
      var totals = UsageTotals()
      totals.writtenBytes = Int(clamping: written.rawValue - from.rawValue)
      try tx.addUsage(
        totals, branch: branch, hour: CalendarUTC.start(of: .hourly, holding: now), at: now)
    }
    try tx.set(
      UsageMarkRecord(
        subject: running.lineID, projectID: branch.projectID, position: max(from, written),
        createdAt: now))
  }

  private func accountStorage(_ now: Date) async throws {
    let hour = CalendarUTC.start(of: .hourly, holding: now)
    guard accounted.withLock({ $0 }) != hour else { return }
    try await core.catalog.write { tx in
      let until = try tx.setting(Self.storageSetting).flatMap { RFC3339.date($0) } ?? hour
      if until < hour { try tx.accountStorage(from: until, to: hour) }
      if until <= hour { try tx.set(Self.storageSetting, to: RFC3339.text(hour)) }
      try tx.sweepMeter(at: now)
    }
    accounted.withLock { $0 = hour }
  }

  /// Measures the sizes of computes that were not measured for a while. Not part of ``round()``:
  /// PostgreSQL walks its files for it.
  func measure() async throws {
    let running = try await running()
    let now = core.clock.now
    let due = measured.withLock { measured in
      measured = measured.filter { entry in running.contains { $0.computeID == entry.key } }
      return running.filter {
        now.timeIntervalSince(measured[$0.computeID] ?? .distantPast) >= Self.measureInterval
      }
    }
    for compute in due {
      measured.withLock { $0[compute.computeID] = now }
      let logical = await logicalSize(of: compute)
      let history = await core.fleet.historyBytes(line: compute.lineID)
      guard logical != nil || history != nil else { continue }
      try await core.catalog.write { tx in
        guard let record = try tx.compute(ComputeID(compute.computeID)),
          try tx.branch(record.branchID) != nil
        else { return }
        try tx.setSizes(
          logical: logical, history: history, of: record.branchID, project: record.projectID,
          at: now)
      }
    }
    try await measureSleeping(now)
  }

  /// What the store holds of branches that do not run.
  private func measureSleeping(_ now: Date) async throws {
    let due = try await core.catalog.read {
      try $0.branchesMeasured(
        before: now.addingTimeInterval(-Self.sleepingInterval), limit: Self.sleepingBatch)
    }
    for branch in due {
      let history = await core.fleet.historyBytes(line: branch.lineID.rawValue)
      try await core.catalog.write { tx in
        // Where nobody can tell, the last value stays and the next look comes as late.
        try tx.setSizes(
          logical: nil, history: history, of: branch.id, project: branch.projectID, at: now)
      }
    }
  }

  /// `nil` where the compute does not answer, as one that is just being suspended.
  private func logicalSize(of compute: RunningCompute) async -> Int? {
    do {
      return try await core.tenants.logicalSize(of: compute)
    } catch {
      core.logger.debug(
        "size was not measured", metadata: ["compute": "\(compute.computeID)", "error": "\(error)"])
      return nil
    }
  }
}
