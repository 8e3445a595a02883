import APITypes
import Catalog
import Foundation
import PostgresClient
import PostgresFormat

/// Restore drills: a random moment of a branch is opened, looked through and thrown away.
///
/// *State and invariants*: 1. The row, with the scratch line's name, is written before anything is
/// opened; what a killed process left is found by it and removed. 2. The branch itself is not touched. 3. Only what the
/// history did not give, again and again, is `failed`; a drill that something else stood in the way of is an `error`.
public struct DrillService: Sendable {
  let core: Core

  /// Asks for a drill of a branch now.
  public func start(
    branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.Drill {
    let record = try await core.catalog.write { tx in
      let project = try core.project(tx, project, of: account)
      return try tx.insert(self.row(try core.branch(tx, branch, of: project.id)))
    }
    return Self.present(record)
  }

  public func list(
    project: ProjectID, account: AccountID, limit: Int
  ) async throws -> [API.Drill] {
    try await core.catalog.read { tx in
      _ = try core.project(tx, project, of: account)
      return try tx.drills(of: project, limit: limit).map(Self.present)
    }
  }

  public func get(_ id: String, project: ProjectID, account: AccountID) async throws -> API.Drill {
    try await core.catalog.read { tx in
      _ = try core.project(tx, project, of: account)
      guard let found = try tx.drill(id), found.projectID == project else {
        throw ControlPlaneError(.drillNotFound, "find drill '\(id)': there is none")
      }
      return Self.present(found)
    }
  }

  private func row(_ branch: BranchRecord) -> DrillRecord {
    DrillRecord(
      id: core.names.drill(), accountID: branch.accountID, plan: branch.plan,
      projectID: branch.projectID, branchID: branch.id, lineID: branch.lineID,
      status: API.ProofStatus.scheduled.rawValue, createdAt: core.clock.now)
  }

  private static func present(_ record: DrillRecord) -> API.Drill {
    var drill = API.Drill(
      id: record.id, projectID: record.projectID.rawValue, branchID: record.branchID.rawValue,
      status: API.ProofStatus(rawValue: record.status) ?? .error, createdAt: record.createdAt)
    drill.lsn = record.lsn?.description
    drill.timestamp = record.moment
    drill.millisecondsToOpen = record.result.millisecondsToOpen
    drill.objectiveMilliseconds = record.result.objectiveMilliseconds
    drill.databases = record.result.databases
    drill.tables = record.result.tables
    drill.rows = record.result.rows
    drill.amcheck = record.result.amcheck
    drill.error = record.error
    drill.finishedAt = record.finishedAt
    return drill
  }

  // MARK: work

  /// How long nothing evicts the moment: reading all of a large database takes hours.
  private static let leaseSeconds: TimeInterval = 86_400
  /// Before each further attempt at a moment that could not be opened or looked through: the store may be away, its
  /// last WAL not stored yet.
  static let pauses: [Duration] = [.seconds(5), .seconds(30), .seconds(120)]

  /// Does one drill: the oldest that was asked for, else one that is due.
  /// - Parameter pauses: one for each further attempt.
  /// - Returns: whether there was something to do.
  func work(pauses: [Duration] = Self.pauses) async throws -> Bool {
    let (remains, asked) = try await core.catalog.read { tx in
      (try tx.drillsWithRemains(limit: 3), try tx.unfinishedDrills().first)
    }
    for drill in remains { try await removeRemains(of: drill) }
    var next = asked
    if next == nil { next = try await due() }
    guard var done = next else { return false }
    var pauses = pauses[...]
    // All attempts are at one moment: another one would prove nothing of what could not be opened.
    var moment: MomentRequest?
    while true {
      do {
        if let left = done.scratchLineID {
          // A former process, or attempt, died at it.
          try await core.fleet.endDrill(scratchLine: left.rawValue)
          done.scratchLineID = nil
        }
        try await run(&done, &moment)
        break
      } catch {
        try Task.checkCancellation()
        done.status = (Self.disproves(error) ? API.ProofStatus.failed : .error).rawValue
        done.error = "\(error)"
        guard Self.mayPass(error), let pause = pauses.popFirst() else { break }
        try await Task.sleep(for: pause)
      }
    }
    done.finishedAt = core.clock.now
    let finished = done
    try await core.catalog.write { try $0.update(finished) }
    return true
  }

  /// Whether an error that stays tells of the history, and not only of what a drill needs beside it.
  private static func disproves(_ error: any Error) -> Bool {
    switch error {
    case let error as ComputeFleetError: error.code == .damaged || error.code == .unknownLine
    case let error as PostgresError: error.code == .server
    default: false
    }
  }

  /// Whether another attempt may end differently. That holds for damage, too: where the store does not answer while a
  /// moment is opened, pieces of it are missing.
  private static func mayPass(_ error: any Error) -> Bool {
    if error is ControlPlaneError { return false }
    return (error as? ComputeFleetError)?.code != .permanent
  }

  private func due() async throws -> DrillRecord? {
    let interval = core.settings.proofs.drillInterval
    guard interval > 0 else { return nil }
    let before = core.clock.now.addingTimeInterval(-interval)
    return try await core.catalog.write { tx in
      guard let branch = try tx.branchesToDrill(before: before, limit: 1).first else { return nil }
      return try tx.insert(self.row(branch))
    }
  }

  /// - Parameter chosen: the moment; chosen here where it is `nil`.
  private func run(_ drill: inout DrillRecord, _ chosen: inout MomentRequest?) async throws {
    let asked = drill
    let (resolver, project) = try await core.catalog.read { tx in
      guard let project = try tx.project(asked.projectID), project.deletedAt == nil else {
        throw ControlPlaneError(.projectNotFound, "drill: the project is gone")
      }
      let branch = try core.branch(tx, asked.branchID, of: project.id)
      return (try MomentResolver(core, project, branch, tx), project)
    }
    if chosen == nil { chosen = try await randomMoment(resolver, project) }
    let moment = try await resolver.resolve(chosen ?? .head)
    drill.lsn = moment.lsn
    drill.moment = moment.time
    drill.lineID = CatalogLineID(moment.lineID)
    let scratch = core.names.line()
    drill.scratchLineID = scratch
    drill.status = API.ProofStatus.running.rawValue
    let lease = try await begin(drill, at: moment.lsn)
    let request = DrillRequest(
      scratchLineID: scratch.rawValue, computeID: core.names.compute().rawValue,
      projectID: project.id.rawValue, lineID: moment.lineID, lsn: moment.lsn,
      major: project.pgVersion)
    let outcome: Result<DrillOutcome, any Error>
    do {
      outcome = .success(try await core.fleet.drill(request))
    } catch {
      outcome = .failure(error)
    }
    await tidy(&drill)
    try await core.catalog.write { try $0.deleteLease(lease) }
    drill.take(try outcome.get(), objective: core.settings.proofs.drillObjective)
  }

  /// Writes down what is about to be made. Until the lease is given back nothing evicts the moment.
  private func begin(_ drill: DrillRecord, at lsn: LSN) async throws -> String {
    let lease = core.names.lease()
    try await core.catalog.write { tx in
      try tx.update(drill)
      let now = core.clock.now
      try tx.insert(
        LeaseRecord(
          id: lease, accountID: drill.accountID, plan: drill.plan, projectID: drill.projectID,
          lineID: drill.lineID, lsn: lsn, expiresAt: now.addingTimeInterval(Self.leaseSeconds),
          createdAt: now))
    }
    return lease
  }

  /// What an earlier drill could not take away: an unknown line would keep its parent's history for ever.
  private func removeRemains(of earlier: DrillRecord) async throws {
    var drill = earlier
    await tidy(&drill)
    let record = drill
    try await core.catalog.write { try $0.update(record) }
  }

  /// Takes away what the drill made. Its result does not depend on that: what cannot be taken away now stays noted in
  /// the row, for the next look.
  private func tidy(_ drill: inout DrillRecord) async {
    guard let scratch = drill.scratchLineID else { return }
    do {
      try await core.fleet.endDrill(scratchLine: scratch.rawValue)
      drill.scratchLineID = nil
    } catch {
      core.logger.warning(
        "what a drill made is left", metadata: ["line": "\(scratch)", "error": "\(error)"])
    }
  }

  /// A moment of the window, each instant of it equally likely.
  private func randomMoment(
    _ resolver: MomentResolver, _ project: ProjectRecord
  ) async throws -> MomentRequest {
    guard project.historyRetentionSeconds > 0 else { return .head }
    let window = try await resolver.window()
    let span = window.latestTime.timeIntervalSince(window.earliestTime)
    guard span > 0 else { return .head }
    let bits = core.random.bytes(6).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let share = Double(bits) / Double(UInt64(1) << 48)
    return .time(window.earliestTime.addingTimeInterval(span * share))
  }
}

extension DrillRecord {
  fileprivate mutating func take(_ outcome: DrillOutcome, objective: Duration) {
    result.millisecondsToOpen = Int(outcome.toOpen / .milliseconds(1))
    result.objectiveMilliseconds = Int(objective / .milliseconds(1))
    result.databases = outcome.databases
    result.tables = outcome.tables
    result.rows = outcome.rows
    result.amcheck = outcome.amcheck
    status = (outcome.problems.isEmpty ? API.ProofStatus.passed : .failed).rawValue
    error = outcome.problems.isEmpty ? nil : outcome.problems.joined(separator: "\n")
  }
}
