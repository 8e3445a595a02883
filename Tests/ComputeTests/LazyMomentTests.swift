import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Moments opened without replay are what replay makes of them, byte for byte.
@Suite(.serialized, .heavy) struct LazyMomentTests {
  /// Moments of each history; more with `EXZO_MOMENTS`.
  static let moments = ProcessInfo.processInfo.environment["EXZO_MOMENTS"].flatMap(Int.init) ?? 12

  /// Every kind of work, keyframes as the policy makes them.
  @Test func mixedWork() async throws {
    try await prove(
      Workloads.all, completeLayers: nil, moments: LazyMomentTests.moments / 3 + 1, seed: 31)
  }

  /// Chains as long as the history: no keyframe after the first is complete.
  @Test func farFromACompleteKeyframe() async throws {
    try await prove(
      Workloads.all.filter { !($0 is DatabaseWorkload) }, completeLayers: .never,
      moments: LazyMomentTests.moments / 3 + 2, seed: 32)
  }

  @Test func everyKeyframeComplete() async throws {
    try await prove(
      Workloads.all, completeLayers: .always, moments: LazyMomentTests.moments / 3 - 1, seed: 33)
  }

  private func prove(
    _ workloads: [any Workload], completeLayers: AgentSpecification.CompleteLayers?, moments: Int,
    seed: UInt64
  ) async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot {
        $0.settings.maxPreparedTransactions = 50
        $0.settings.maxLocksPerTransaction = 256
        $0.settings.extra = [
          "autovacuum_naptime": "1s", "autovacuum_vacuum_scale_factor": "0.02",
          "autovacuum_vacuum_insert_scale_factor": "0.02", "track_commit_timestamp": "on",
        ]
        $0.completeLayers = completeLayers
        $0.restoreObjective = 0.03
      }
      let range = try await engine.work(root, workloads, seconds: 15, seed: seed)
      var random = SeededRandom(seed: seed)
      var proof = MomentProof()
      for attempt in 0..<moments * 4 where proof.moments < moments {
        var target = random.moment(in: range)
        if attempt % 4 == 3 {
          target = try await engine.keyframe(of: root, at: target).consistentLSN
        }
        let (queries, ahead) = (proof.moments % 3 == 0, random.oneIn(2))
        try await engine.prove(
          &proof, root, at: target, workloads, queries: queries, ahead: ahead,
          kills: proof.moments % 4 == 1)
      }
      proof.requireEveryLog()
      print("proof (\(completeLayers.map(\.rawValue) ?? "policy")): \(proof.summary)")
      #expect(proof.moments > 0)
    }
  }

  /// Branches of branches that were opened without replay, before anything of them was read and after they
  /// were written to.
  @Test func branchesOfBranches() async throws {
    try await withEngine { engine in
      let workloads: [any Workload] = [IndexWorkload(), RewriteWorkload(), SequenceWorkload()]
      var line = try await engine.openRoot { $0.restoreObjective = 0.03 }
      var random = SeededRandom(seed: 41)
      var proof = MomentProof()
      // DROP DATABASE throws dirty pages away and then makes a checkpoint, before its record: at a moment between
      // the two the database is invalid, and what its files hold depends on the image, as on a plain server.
      var range = try await engine.work(
        line, workloads, seconds: 6, seed: 41, dropsDatabases: false)
      for level in 0..<3 {
        let from = range.lowerBound + (range.upperBound - range.lowerBound) / 2
        let target = random.moment(in: from...range.upperBound)
        let (child, status) = try await engine.open(line, at: target) {
          $0.opening = .lazy
          $0.restoreObjective = 0.03
          $0.completeLayers = level == 1 ? .never : nil
        }
        #expect(status.opening == .lazy)
        // Before anything was read.
        let begin = try await engine.fleet.client(line: child).head()
        try await engine.prove(&proof, child, at: begin, workloads, queries: false, ahead: false)
        range = try await engine.work(
          child, workloads, seconds: 6, seed: 42 + UInt64(level), isNew: false,
          dropsDatabases: false)
        for _ in 0..<max(1, LazyMomentTests.moments / 12) {
          let moment = random.moment(in: range)
          try await engine.prove(&proof, child, at: moment, workloads, queries: true, ahead: true)
        }
        line = child
      }
      print("proof (branches): \(proof.summary)")
      #expect(proof.moments >= 3)
    }
  }
}

extension SeededRandom {
  /// Any position of a range, inside records too.
  mutating func moment(in range: ClosedRange<LSN>) -> LSN {
    LSN(UInt64.random(in: range.lowerBound.rawValue...range.upperBound.rawValue, using: &self))
  }
}

extension Engine {
  /// Lets workloads, pgbench and databases that are made through WAL run.
  /// - Returns: from before they began to the head after they ended.
  func work(
    _ line: String, _ workloads: [any Workload], seconds: Double, seed: UInt64, isNew: Bool = true,
    dropsDatabases: Bool = true
  ) async throws -> ClosedRange<LSN> {
    let connection = connection(line)
    if isNew {
      try await onThread {
        for workload in workloads { try workload.prepare(on: connection) }
        try connection.pgbench(["-i", "-q", "-s", "2"])
      }
    }
    let from = try await fleet.client(line: line).head()
    async let report = WorkloadRun(on: connection, seed: seed).run(workloads, seconds: seconds)
    // Rows locked by several transactions at once get multixacts.
    let lockers = workloads.filter { $0 is RowLockWorkload }
    async let locks = WorkloadRun(on: connection, seed: seed &+ 500, workersEach: 3, firstWorker: 2)
      .run(lockers, seconds: seconds)
    async let bench: Void = onThread {
      _ = try connection.pgbench(["-c", "2", "-T", "\(Int(seconds))", "-n"])
    }
    async let databases: Void = onThread {
      let end = Date().addingTimeInterval(seconds)
      var number = 0
      while Date() < end {
        number += 1
        let name = "made_\(seed)_\(number)"
        _ = try connection.psql("CREATE DATABASE \(name) STRATEGY wal_log TEMPLATE template0")
        _ = try connection.with(database: name).psql(
          "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 2000) AS n; VACUUM t")
        if number > 1, dropsDatabases {
          _ = try connection.psql("DROP DATABASE made_\(seed)_\(number - 1)")
        }
        usleep(700_000)
      }
    }
    _ = try await (report, locks)
    try await bench
    try await databases
    return from...(try await fleet.client(line: line).head())
  }

  func keyframe(of line: String, at target: LSN) async throws -> Keyframe {
    let history = try await LineHistory.open(LineID(rawValue: line), store: store)
    return try await history.seek(.lsn(target), now: HistoryEnvironment.systemTime()).keyframe
  }

  /// Opens the moment both ways and compares; notes where only replay opens it.
  /// - Parameter queries: a server on the lazily opened moment is asked, too.
  /// - Parameter ahead: pages are made ahead of reads at the same time.
  /// - Parameter kills: redo workers are killed at random meanwhile.
  func prove(
    _ proof: inout MomentProof, _ line: String, at target: LSN, _ workloads: [any Workload],
    queries: Bool, ahead: Bool, kills: Bool = false
  ) async throws {
    let lazy: OpenedMoment
    let killer = kills ? WorkerKiller() : nil
    defer { proof.kills += killer?.stop() ?? 0 }
    do {
      lazy = try await OpenedMoment(self, line, at: target, .lazy, ahead: ahead)
      proof.kills += killer?.stop() ?? 0
    } catch let error as ComputeError
      where error.code == .environment && error.message.contains("without replay, as asked for")
    {
      proof.noteFallback(error)
      return
    }
    let replayed = try await OpenedMoment(self, line, at: target, .replay)
    try proof.compare(lazy, replayed, at: target)
    try proof.judgeUncommitted(at: target, replayed: replayed)
    if queries {
      let connection = try lazy.start()
      for failure in try await failures(on: connection, workloads) {
        Issue.record("at \(target): \(failure)")
      }
      try lazy.server.stop()
    }
    try lazy.remove()
    try replayed.remove()
  }

  /// What is wrong with a server on a moment, in words.
  private func failures(
    on connection: ServerConnection, _ workloads: [any Workload]
  ) async throws -> [String] {
    try await onThread {
      try workloads.flatMap {
        try $0.failures(on: connection, acknowledged: [:], isRecovered: true)
      } + AmCheck.failures(on: connection) + VisibilityCheck.failures(on: connection)
        + IndexOnlyScanCheck.failures(on: connection)
    }
  }
}
