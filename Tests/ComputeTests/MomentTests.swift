import Foundation
import History
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Random moments of real work, opened and compared with what the WAL and the oracle say.
@Suite(.serialized, .heavy) struct MomentTests {
  @Test func pgbenchSumsAndRowsAgreeWithTheCommitsInTheWAL() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      let connection = engine.connection(root)
      try connection.pgbench(["-i", "-q", "-s", "3"])
      let from = try await engine.fleet.client(line: root).head()
      _ = try await onThread {
        try connection.pgbench(["-c", "4", "-j", "2", "-T", "8", "-n"])
      }
      let to = try await engine.fleet.client(line: root).head()
      let wal = try await engine.exportWAL(of: root, from: from, to: to)
      let summary = try WALSummary(directory: wal, from: from, to: to)
      let relation = try BenchSums.historyRelation(on: connection)
      var random = SeededRandom(seed: 15)
      var targets = (0..<4).map { _ in summary.recordStarts.randomElement(using: &random)! }
      targets.append(to)
      for target in targets {
        let (branch, status) = try await engine.open(root, at: target)
        let steps = status.steps.map { "\($0.name) \(Int($0.milliseconds))" }
        print("opened \(target): \(steps.joined(separator: ", ")) ms")
        let sums = try BenchSums(of: engine.connection(branch))
        let rows = summary.committedInserts(into: [relation], before: target)
        #expect(sums.failures(expectingRows: rows) == [], "at \(target)")
        #expect(try AmCheck.failures(on: engine.connection(branch)) == [], "at \(target)")
        try await engine.fleet.destroy(line: branch)
      }
    }
  }

  /// Every kind of work at once; moments at record boundaries, inside records, at page and segment
  /// edges.
  @Test func mixedWorkloadsAreWholeAtAnyMoment() async throws {
    try await withEngine { engine in
      var settings = ServerSettings()
      settings.maxPreparedTransactions = 50
      settings.maxLocksPerTransaction = 256
      let root = try await engine.openRoot(settings)
      let connection = engine.connection(root)
      for workload in Workloads.all { try await onThread { try workload.prepare(on: connection) } }
      let marks = try MomentMarks(on: connection)
      let from = try await engine.fleet.client(line: root).head()
      async let report = WorkloadRun(on: connection, seed: 4).run(Workloads.all, seconds: 12)
      for _ in 0..<10 {
        try await Task.sleep(for: .seconds(1))
        _ = try await onThread { try marks.take() }
      }
      let done = try await report
      let to = try await engine.fleet.client(line: root).head()
      var random = SeededRandom(seed: 16)
      for round in 0..<5 {
        var target = LSN(UInt64.random(in: from.rawValue...to.rawValue, using: &random))
        if round == 1 { target = LSN(target.rawValue / 8192 * 8192) }
        if round == 4 { target = to }
        // Prepared transactions need their slots whatever the branch is started with.
        let (branch, status) = try await engine.open(root, at: target)
        let opened = status.startLSN ?? target
        let copy = engine.connection(branch)
        for workload in Workloads.all {
          let failures = try await onThread {
            try workload.failures(on: copy, acknowledged: [:], isRecovered: true)
          }
          #expect(failures == [], "\(workload.name) at \(target)")
        }
        #expect(try marks.failures(on: copy, at: min(opened, target)) == [], "at \(target)")
        #expect(try AmCheck.failures(on: copy) == [], "at \(target)")
        try await engine.fleet.destroy(line: branch)
      }
      #expect(done.total > 0)
    }
  }

  @Test func branchOfABranchAndOfASuspendedParent() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE t AS SELECT 1 AS n")
      let first = try await engine.fleet.client(line: root).head()
      let (child, _) = try await engine.open(root, at: first)
      try engine.psql(child, "INSERT INTO t VALUES (2)")
      let second = try await engine.fleet.client(line: child).head()
      try engine.psql(child, "INSERT INTO t VALUES (3)")
      try await engine.fleet.suspend(line: child)
      try await engine.fleet.suspend(line: root)
      let (grandchild, _) = try await engine.open(child, at: second)
      let (twin, _) = try await engine.open(child, at: second)
      #expect(
        try engine.psql(grandchild, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t") == "1,2")
      try engine.psql(grandchild, "DELETE FROM t")
      #expect(try engine.psql(twin, "SELECT count(*) FROM t") == "2")
      let (sibling, _) = try await engine.open(root, at: first)
      #expect(try engine.psql(sibling, "SELECT count(*) FROM t") == "1")
    }
  }
}
