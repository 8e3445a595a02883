import Foundation
import Synchronization

/// Runs workloads side by side against one server, each worker on a thread and a session of its
/// own.
public struct WorkloadRun: Sendable {
  public var server: ServerConnection
  public var seed: UInt64
  public var workersEach: Int
  /// The number of the first worker; two runs at once need numbers of their own.
  public var firstWorker: Int
  /// Lost connections are made anew until the time is up (for servers that are killed meanwhile);
  /// otherwise they end the run with an error.
  public var reconnects: Bool

  public init(
    on server: ServerConnection, seed: UInt64, workersEach: Int = 1, firstWorker: Int = 1,
    reconnects: Bool = false
  ) {
    self.server = server
    self.seed = seed
    self.workersEach = workersEach
    self.firstWorker = firstWorker
    self.reconnects = reconnects
  }

  /// Works until `seconds` have passed, and at least one step by each worker.
  ///
  /// - Throws: the first error that is neither a conflict nor, with ``reconnects``, a lost
  ///   connection.
  public func run(_ workloads: [any Workload], seconds: Double) async throws -> WorkloadReport {
    let deadline = Date().addingTimeInterval(seconds)
    return try await withThrowingTaskGroup(of: WorkloadReport.self) { group in
      for (index, workload) in workloads.enumerated() {
        for worker in firstWorker..<firstWorker + workersEach {
          group.addTask {
            try await onThread {
              var runner = WorkloadRunner(
                run: self, workload: workload, worker: worker,
                random: SeededRandom(seed: seed &+ UInt64(index * 1000 + worker)))
              try runner.work(until: deadline)
              return runner.report
            }
          }
        }
      }
      return try await group.reduce(into: WorkloadReport()) { $0.merge($1) }
    }
  }

  /// The highest step of a worker in the ledger.
  static func lastStep(of workload: String, worker: Int, on server: ServerConnection) throws -> Int
  {
    let text = try server.psql(
      """
      SELECT coalesce(max(step), 0) FROM exzo_ledger
      WHERE workload = '\(workload)' AND worker = \(worker)
      """)
    guard let step = Int(text) else {
      throw CommandFailure(description: "read ledger of \(workload)/\(worker): got '\(text)'")
    }
    return step
  }
}

extension WorkloadReport {
  mutating func merge(_ other: WorkloadReport) {
    acknowledged.merge(other.acknowledged) { $0.merging($1) { max($0, $1) } }
    conflicts += other.conflicts
    reconnects += other.reconnects
  }
}

/// One worker at work.
private struct WorkloadRunner {
  let run: WorkloadRun
  let workload: any Workload
  let worker: Int
  var random: SeededRandom
  var report = WorkloadReport()

  mutating func work(until deadline: Date) throws {
    var session: PsqlSession?
    var done = 0
    repeat {
      do {
        let current: PsqlSession
        if let session {
          current = session
        } else {
          current = try PsqlSession(run.server)
          session = current
          done = try WorkloadRun.lastStep(of: workload.name, worker: worker, on: run.server)
          try current.execute(
            "SET search_path = \(workload.name), public; SET client_min_messages = error;"
              + "SET lock_timeout = '5s'")
        }
        var step = WorkloadStep(
          workload: workload.name, worker: worker, number: done + 1, random: random,
          session: current)
        defer { random = step.random }
        try workload.perform(&step)
        done += 1
        report.acknowledged[workload.name, default: [:]][worker] = done
      } catch let failure as StatementFailure where failure.isConflict {
        report.conflicts += 1
        try session?.execute("ROLLBACK")
        // The step may have committed before a statement after it met the conflict.
        done = try WorkloadRun.lastStep(of: workload.name, worker: worker, on: run.server)
        if done > 0 { report.acknowledged[workload.name, default: [:]][worker] = done }
      } catch  where run.reconnects && WorkloadRunner.isConnectionLoss(error) {
        report.reconnects += 1
        session = nil
        usleep(50_000)
      }
    } while Date() < deadline || (done == 0 && Date() < deadline.addingTimeInterval(30))
  }

  /// psql that cannot connect says so as a failed command, or as a lost session.
  private static func isConnectionLoss(_ error: any Error) -> Bool {
    if let failure = error as? StatementFailure { return failure.isConnectionLoss }
    return (error as? CommandFailure)?.description.contains(": status 2") ?? false
  }
}
