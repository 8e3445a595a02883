import APITypes
import Catalog
import Foundation
import Logging
import PostgresClient

/// Where an operation stands when an ``OperationEngine``'s interruption is asked.
struct StepBoundary: Sendable {
  var operation: OperationRecord
  var step: OperationStep
  /// Whether the step's effect has happened; it is not recorded yet.
  var isDone: Bool
}

/// Thrown at a boundary: the engine drops everything as a killed process would.
struct EngineAbandoned: Error {}

/// Runs the catalog's operations.
///
/// *Purpose*: work that outlives requests and restarts.
///
/// *State and invariants*: 1. All state is in the catalog; the engine can be thrown away at any
/// moment. 2. An operation has one worker at a time: the claim is a row of the catalog. 3. A step
/// is done at least once and recorded after its effect. 4. What an operation waits for has
/// finished before it starts; where that failed, it is skipped.
///
/// *Crash*: the next engine of the same node takes the claims back and repeats the step that was
/// not recorded.
///
/// *Concurrency*: `workers` operations at a time, and besides `longWorkers` and `copyWorkers` of the kinds
/// that may run for hours. ``run()`` once.
///
/// *Not guarded here*: two engines with one node name.
public final class OperationEngine: Sendable {
  private let core: Core
  private let steps: OperationSteps
  private let node: String
  private let workers: Int
  private let longWorkers: Int
  private let copyWorkers: Int
  private let interruption: @Sendable (StepBoundary) async throws -> Void

  private static let attempts = 5
  /// Where no past moment can be opened because too many are: three quarters of an hour, with the pauses.
  private static let roomAttempts = 20
  /// An hour, with the pauses; while it is tried, what was deleted cannot be recovered. What is left of it then is taken
  /// away at the next start.
  private static let removalAttempts = 24
  /// Three minutes.
  private static let partRemovalAttempts = 10
  /// Between two attempts; seconds.
  private static let longestRetryPause = 300.0
  private static let idlePause = Duration.seconds(1)
  /// Of workers that nobody tells anything.
  private static let longestPause = Duration.seconds(30)

  init(
    core: Core, node: String, workers: Int = 8, longWorkers: Int = 2, copyWorkers: Int = 8,
    interruption: @escaping @Sendable (StepBoundary) async throws -> Void = { _ in }
  ) {
    self.core = core
    self.node = node
    self.workers = workers
    self.longWorkers = longWorkers
    self.copyWorkers = copyWorkers
    self.interruption = interruption
    steps = OperationSteps(core: core)
  }

  /// Takes over what an earlier process of this node left, then works until the task is cancelled.
  public func run() async throws {
    try await recover()
    try await withThrowingTaskGroup(of: Void.self) { group in
      let longest = OperationKind.long + OperationKind.copies
      for (count, kinds, excluding) in [
        (workers, longest, true), (longWorkers, OperationKind.long, false),
        (copyWorkers, OperationKind.copies, false),
      ] {
        for _ in 0..<count {
          group.addTask {
            try await self.work(on: kinds.map(\.rawValue), excluding: excluding)
          }
        }
      }
      group.addTask { await self.lookOut() }
      // The first error ends all: leaving the group cancels the others.
      for try await _ in group {}
    }
  }

  /// Claims of the earlier process are freed; endpoints whose compute is gone become idle, or are started again
  /// where they ended with the machine; computes of what is deleted are taken away that an operation which failed
  /// has left.
  private func recover() async throws {
    let running = Set(await core.fleet.running().map(\.computeID))
    try await core.catalog.write { tx in
      try tx.releaseClaims(of: self.node)
      for endpoint in try tx.endpoints(in: .active) {
        guard let compute = try ReplicaComputes.compute(of: endpoint, tx),
          !running.contains(compute.id.rawValue)
        else { continue }
        try OperationSteps.setIdle(endpoint, tx, at: self.core.clock.now)
        try LeftWAL(core: self.core).startAgain(endpoint, compute, tx)
      }
      try self.takeAwayLeftComputes(tx)
    }
  }

  private func takeAwayLeftComputes(_ tx: CatalogTransaction) throws {
    for branch in try tx.deletedBranchesWithComputes() {
      guard let project = try tx.project(branch.projectID) else { continue }
      // Whoever recovers the project waits for it.
      let whole = project.deletedAt == nil ? [] : [OperationLock.project(project.id)]
      _ = try tx.enqueue(
        OperationRecord(
          .deleteBranch, core, project: project, branch: branch.id,
          locks: [OperationLock.branch(branch.id)] + whole))
    }
    let replicas = Set(try tx.readingComputes().map(\.id))
    for endpoint in try tx.deletedEndpointsThatMayRun() {
      guard endpoint.type == .readWrite || replicas.contains(ReplicaComputes.id(of: endpoint.id)),
        let project = try tx.project(endpoint.projectID)
      else { continue }
      _ = try tx.enqueue(
        OperationRecord(
          .deleteEndpoint, core, project: project, branch: endpoint.branchID,
          endpoint: endpoint.id,
          locks: [OperationLock.endpoint(endpoint.id), OperationLock.branch(endpoint.branchID)]))
    }
  }

  /// - Parameter kinds: what is worked on, or, where `excluding`, all but that.
  private func work(on kinds: [String], excluding: Bool) async throws {
    while !Task.isCancelled {
      let generation = core.added.generation
      do {
        let now = core.clock.now
        let claimed = try await core.catalog.write {
          try $0.claimOperation(for: self.node, at: now, kinds: kinds, excluding: excluding)
        }
        if let claimed {
          // Whoever waits looks for more.
          core.added.fire()
          try await execute(claimed)
        } else {
          await core.added.wait(since: generation, timeout: Self.longestPause)
        }
      } catch let error as EngineAbandoned {
        throw error
      } catch is CancellationError {
        return
      } catch {
        core.logger.error("operation engine failed", metadata: ["error": "\(error)"])
        await core.added.wait(since: generation, timeout: Self.idlePause)
      }
    }
  }

  /// Tells the workers every second of what has become due without anybody's doing.
  private func lookOut() async {
    await PausedLoop(every: Self.idlePause).run(
      onFailure: { core.logger.error("operation engine failed", metadata: ["error": "\($0)"]) },
      {
        let now = core.clock.now
        if try await core.catalog.read({ try $0.hasClaimableOperation(at: now) }) {
          core.added.fire()
        }
        return false
      })
  }

  private func execute(_ claimed: OperationRecord) async throws {
    var operation = claimed
    guard let kind = OperationKind(rawValue: operation.kind) else {
      return try await fail(
        operation, "operation kind '\(operation.kind)' is unknown to this version")
    }
    do {
      while operation.stepsDone < kind.steps.count {
        let step = kind.steps[operation.stepsDone]
        try await interruption(StepBoundary(operation: operation, step: step, isDone: false))
        try await steps.perform(step, of: operation)
        try await interruption(StepBoundary(operation: operation, step: step, isDone: true))
        operation = try await record(step, of: operation, isLast: step == kind.steps.last)
      }
    } catch let error as EngineAbandoned {
      throw error
    } catch is CancellationError {
      throw CancellationError()
    } catch let error as OperationCancelled {
      return try await fail(operation, error.reason, as: .cancelled)
    } catch {
      return try await handle(error, of: operation)
    }
    core.ended.fire()
    core.added.fire()
  }

  private func record(
    _ step: OperationStep, of operation: OperationRecord, isLast: Bool
  ) async throws -> OperationRecord {
    var next = operation
    let now = core.clock.now
    next.stepsDone += 1
    next.updatedAt = now
    if isLast {
      next.status = .finished
      next.finishedAt = now
      next.claimedBy = nil
      next.error = nil
    }
    let record = next
    try await core.catalog.write { tx in
      try tx.recordStep(record.id, number: operation.stepsDone, name: step.rawValue, at: now)
      try tx.update(try record.withStoredDetails(tx))
    }
    return record
  }

  private func handle(_ error: any Error, of operation: OperationRecord) async throws {
    guard Self.isTemporary(error), Self.isTriedAgain(operation, after: error) else {
      return try await fail(operation, "\(error)")
    }
    var next = operation
    next.failuresCount += 1
    next.status = .scheduling
    next.claimedBy = nil
    next.error = "\(error)"
    next.updatedAt = core.clock.now
    if next.failuresCount >= Self.attempts {
      core.logger.warning(
        "operation is tried again",
        metadata: [
          "operation": "\(operation.id)", "kind": "\(operation.kind)",
          "failures": "\(next.failuresCount)", "error": "\(error)",
        ])
    }
    next.retryAt = core.clock.now.addingTimeInterval(Self.pause(after: next.failuresCount))
    let record = next
    await persist(operation) { try $0.update(try record.withStoredDetails($0)) }
  }

  private static func isTriedAgain(
    _ operation: OperationRecord, after error: any Error
  ) -> Bool {
    operation.failuresCount + 1 < attempts(of: operation, after: error)
  }

  private static func attempts(of operation: OperationRecord, after error: any Error) -> Int {
    guard let kind = OperationKind(rawValue: operation.kind) else { return attempts }
    if OperationKind.removals.contains(kind) { return removalAttempts }
    // What is left to do is about the state that the branch has by now.
    if OperationKind.moves.contains(kind), operation.stepsDone > 1 { return partRemovalAttempts }
    if OperationKind.partRemovals.contains(kind) { return partRemovalAttempts }
    return hasNoRoom(error) ? roomAttempts : attempts
  }

  /// 0.2 s, 0.4 s, 0.8 s, 1.6 s and so on; seconds.
  private static func pause(after failures: Int) -> TimeInterval {
    min(0.1 * Double(1 << min(failures, 20)), longestRetryPause)
  }

  /// Ends the operation and all that wait for it.
  private func fail(
    _ operation: OperationRecord, _ reason: String, as status: API.OperationStatus = .failed
  ) async throws {
    core.logger.warning(
      "operation failed",
      metadata: ["operation": "\(operation.id)", "kind": "\(operation.kind)", "error": "\(reason)"])
    let now = core.clock.now
    let steps = steps
    await persist(operation) { tx in
      var failed = try operation.withStoredDetails(tx)
      failed.failuresCount += 1
      failed.end(status, reason, at: now)
      try tx.update(failed)
      try steps.abandon(failed, tx)
      while let orphan = try tx.orphans().first {
        var skipped = orphan
        skipped.end(.skipped, "operation '\(failed.id)' before it failed: \(reason)", at: now)
        try tx.update(skipped)
        try steps.abandon(skipped, tx)
      }
    }
    core.ended.fire()
    core.added.fire()
  }

  /// Writes an outcome, again and again while the catalog does not answer: the claim is this
  /// engine's.
  private func persist(
    _ operation: OperationRecord, _ body: @escaping @Sendable (CatalogTransaction) throws -> Void
  ) async {
    while !Task.isCancelled {
      do {
        return try await core.catalog.write(body)
      } catch {
        core.logger.error(
          "operation's outcome could not be written",
          metadata: ["operation": "\(operation.id)", "error": "\(error)"])
        await core.ended.wait(since: core.ended.generation, timeout: Self.idlePause)
      }
    }
  }

  private static func hasNoRoom(_ error: any Error) -> Bool {
    (error as? ControlPlaneError)?.code == .unavailable
  }

  private static func isTemporary(_ error: any Error) -> Bool {
    switch error {
    case is ControlPlaneError: hasNoRoom(error)
    case let error as CatalogError: error.code == .unavailable || error.code == .diskFull
    case let error as ComputeFleetError: error.code == .temporary
    case let error as PostgresError: error.isConnectionLoss
    case let error as DumpError: error.isTemporary
    default: false
    }
  }
}

extension OperationRecord {
  /// With the details that its steps may have written meanwhile.
  fileprivate func withStoredDetails(_ tx: CatalogTransaction) throws -> OperationRecord {
    var record = self
    if let stored = try tx.operation(id) { record.details = stored.details }
    return record
  }

  mutating func end(_ status: API.OperationStatus, _ reason: String?, at date: Date) {
    self.status = status
    error = reason
    claimedBy = nil
    updatedAt = date
    finishedAt = date
  }
}
