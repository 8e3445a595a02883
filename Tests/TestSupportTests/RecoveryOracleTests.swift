import Foundation
import PostgresFormat
import TestSupport
import Testing

/// The oracle itself is tried first: it must pass what PostgreSQL recovered, and catch what was
/// spoilt.
@Suite(.heavy, .needsPostgres())
struct RecoveryOracleTests {
  /// A pgbench run on an archived server, recovered by PostgreSQL at moments of it.
  struct BenchRun {
    let server: StockServer
    let summary: WALSummary
    let history: String
    let recovery: StockRecovery
    let start: LSN
    let end: LSN

    init(in directory: String) throws {
      server = try StockServer(in: "\(directory)/origin", settings: ["full_page_writes=off"])
      try server.enableArchive()
      try server.start()
      try server.pgbench(["-i", "-s", "1", "-q"])
      try server.psql("TRUNCATE pgbench_history")
      try server.baseBackup(to: "\(directory)/base")
      start = try server.insertLSN()
      history = try BenchSums.historyRelation(on: server.connection)
      try server.pgbench(["-n", "-c", "4", "-j", "2", "-T", "3"])
      end = try server.insertLSN()
      try server.archiveAll()
      summary = try WALSummary(directory: server.archiveDirectory, from: start, to: end)
      recovery = StockRecovery(
        baseBackup: "\(directory)/base", walDirectory: server.archiveDirectory)
    }

    func expectedRows(at moment: LSN) -> Int {
      summary.committedInserts(into: [history], before: moment)
    }
  }

  @Test func recoveredMomentsOfPgbenchPassEveryCheck() async throws {
    try await withTemporaryDirectory { directory in
      let run = try BenchRun(in: directory)
      let total = try BenchSums(of: run.server.connection)
      #expect(total.failures(expectingRows: run.expectedRows(at: run.end)) == [])
      var random = SeededRandom(seed: 11)
      for number in 1...3 {
        let moment = try #require(run.summary.recordStarts.randomElement(using: &random))
        let copy = try run.recovery.recover(to: moment, in: "\(directory)/copy\(number)")
        let sums = try BenchSums(of: copy.connection)
        #expect(sums.failures(expectingRows: run.expectedRows(at: moment)) == [], "at \(moment)")
        #expect(try AmCheck.failures(on: copy.connection) == [], "at \(moment)")
        try copy.stop(mode: "immediate")
      }
      try run.server.stop()
    }
  }

  @Test func aRecoveryThatStopsOneCommitEarlyIsCaught() async throws {
    try await withTemporaryDirectory { directory in
      let run = try BenchRun(in: directory)
      let commits = run.summary.commits
      let moment = try #require(commits.dropFirst(commits.count / 2).first).lsn
      let earlier = try #require(run.summary.lastCommit(before: moment)).lsn
      let copy = try run.recovery.recover(to: earlier, in: "\(directory)/copy")
      let failures = try BenchSums(of: copy.connection)
        .failures(expectingRows: run.expectedRows(at: moment))
      #expect(failures.count == 1, "\(failures)")
      #expect(failures.first?.contains("rows; the WAL commits") == true)
      try copy.stop(mode: "immediate")
      try run.server.stop()
    }
  }

  /// A zero page is a valid, empty page: nothing but the content can tell that rows are gone.
  @Test func aHeapBlockTakenAwayIsCaughtByTheDump() async throws {
    try await withTemporaryDirectory { directory in
      let run = try BenchRun(in: directory)
      let moment = try #require(run.summary.recordStarts.last)
      let sound = try run.recovery.recover(to: moment, in: "\(directory)/sound")
      let copy = try run.recovery.recover(to: moment, in: "\(directory)/copy")
      #expect(try DumpComparison.differences(sound.connection, copy.connection) == [])
      try clearBlock(7, of: "pgbench_accounts", on: copy)
      let lost = try DumpComparison.differences(sound.connection, copy.connection)
      #expect(lost.contains { $0.hasPrefix("postgres: only left:") }, "\(lost)")
      try copy.stop()
      try sound.stop()
      try run.server.stop()
    }
  }

  @Test func anIndexBlockTakenAwayIsCaughtByAmCheck() async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(in: directory)
      try server.start()
      try server.pgbench(["-i", "-s", "1", "-q"])
      #expect(try AmCheck.failures(on: server.connection) == [])
      try clearBlock(7, of: "pgbench_accounts_pkey", on: server)
      #expect(try AmCheck.failures(on: server.connection) != [])
      try server.stop()
    }
  }

  private func clearBlock(_ block: Int, of relation: String, on server: StockServer) throws {
    let file = try server.psql("SELECT pg_relation_filepath('\(relation)')")
    try server.stop()
    try TestSupport.run([
      "dd", "if=/dev/zero", "of=\(server.dataDirectory)/\(file)", "bs=8192", "seek=\(block)",
      "count=1", "conv=notrunc", "status=none",
    ])
    try server.start()
  }

  @Test func aTargetThatTheWALDoesNotReachIsAnError() async throws {
    try await withTemporaryDirectory { directory in
      let run = try BenchRun(in: directory)
      #expect(throws: CommandFailure.self) {
        _ = try run.recovery.recover(to: run.end + 64 << 20, in: "\(directory)/copy")
      }
      try run.server.stop()
    }
  }

  @Test func marksTellOnWhichSideOfAMomentACopyIs() async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(in: "\(directory)/origin")
      try server.enableArchive()
      try server.start()
      try server.baseBackup(to: "\(directory)/base")
      let marks = try MomentMarks(on: server.connection)
      for _ in 1...4 { try marks.take() }
      try server.archiveAll()
      let recovery = StockRecovery(
        baseBackup: "\(directory)/base", walDirectory: server.archiveDirectory)
      let third = marks.all[2]
      let copy = try recovery.recover(to: third.presentFrom, in: "\(directory)/copy")
      #expect(try marks.failures(on: copy.connection, at: third.presentFrom) == [])
      // The same copy taken for one of other moments: one mark too few, one too many.
      #expect(try marks.failures(on: copy.connection, at: marks.all[3].presentFrom).count == 1)
      #expect(try marks.failures(on: copy.connection, at: third.absentUntil).count == 1)
      try copy.stop()
      try server.stop()
    }
  }
}
