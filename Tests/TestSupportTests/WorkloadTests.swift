import Foundation
import PostgresFormat
import TestSupport
import Testing

@Suite(.heavy, .needsPostgres())
struct WorkloadTests {
  /// All workloads at once, then PostgreSQL's own recovery at random record boundaries.
  @Test func everyWorkloadHoldsAtRandomMomentsOfItsWAL() async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(in: "\(directory)/origin", settings: Workloads.settings)
      try server.enableArchive()
      try server.start()
      for workload in Workloads.all { try workload.prepare(on: server.connection) }
      try server.baseBackup(to: "\(directory)/base")
      let start = try server.insertLSN()
      let report = try await WorkloadRun(on: server.connection, seed: 5, workersEach: 2)
        .run(Workloads.all, seconds: 8)
      let end = try server.insertLSN()
      for workload in Workloads.all {
        let acknowledged = report.acknowledged[workload.name] ?? [:]
        #expect(acknowledged.count == 2, "\(workload.name) did nothing")
        let failures = try workload.failures(on: server.connection, acknowledged: acknowledged)
        #expect(failures == [])
      }
      try server.archiveAll()
      let summary = try WALSummary(directory: server.archiveDirectory, from: start, to: end)
      let recovery = StockRecovery(
        baseBackup: "\(directory)/base", walDirectory: server.archiveDirectory,
        settings: Workloads.settings)
      var random = SeededRandom(seed: 5)
      for number in 1...4 {
        let moment = try #require(summary.recordStarts.randomElement(using: &random))
        let copy = try recovery.recover(to: moment, in: "\(directory)/copy\(number)")
        for workload in Workloads.all {
          #expect(try workload.failures(on: copy.connection, isRecovered: true) == [], "\(moment)")
        }
        #expect(try AmCheck.failures(on: copy.connection) == [], "\(moment)")
        try copy.stop(mode: "immediate")
      }
      try server.stop()
    }
  }

  @Test func acknowledgedStepsSurviveKillingTheServer() async throws {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(in: directory, settings: ["fsync=on"] + Workloads.settings)
      try server.start()
      let workloads: [any Workload] = [RowLockWorkload(), SequenceWorkload(), IndexWorkload()]
      for workload in workloads { try workload.prepare(on: server.connection) }
      let run = WorkloadRun(on: server.connection, seed: 3, reconnects: true)
      async let working = run.run(workloads, seconds: 5)
      for _ in 1...2 {
        try await Task.sleep(for: .seconds(1))
        try server.kill()
        try server.start()
      }
      let report = try await working
      #expect(report.reconnects >= workloads.count)
      for workload in workloads {
        let acknowledged = report.acknowledged[workload.name] ?? [:]
        let failures = try workload.failures(on: server.connection, acknowledged: acknowledged)
        #expect(failures == [])
      }
      try server.stop()
    }
  }

  /// Each workload's checks must notice when one of its tables is not as its transactions left it.
  @Test(arguments: [
    (
      "ddl",
      "DROP VIEW IF EXISTS nothing; DELETE FROM shape WHERE name = (SELECT min(name) FROM shape)"
    ),
    ("ddl", "UPDATE shape SET rows = rows + 1"), ("ddl", "UPDATE shape SET indexes = indexes + 1"),
    ("twophase", "UPDATE account SET balance = balance + 1 WHERE id = 1"),
    ("twophase", "DELETE FROM entry WHERE gid = (SELECT min(gid) FROM entry)"),
    ("rowlock", "DELETE FROM child WHERE ctid = (SELECT min(ctid) FROM child)"),
    ("rowlock", "INSERT INTO child VALUES (1, -1)"),
    ("sequence", "SELECT setval('used_id_seq', 1)"),
    ("sequence", "UPDATE jump SET value = value + 1000"),
    ("largeobject", "UPDATE pg_largeobject SET data = 'x' WHERE pageno = 0"),
    ("largeobject", "DELETE FROM object WHERE id = (SELECT min(id) FROM object)"),
    ("rewrite", "DELETE FROM kept WHERE id = (SELECT min(id) FROM kept)"),
    ("indexes", "UPDATE item_count SET rows = rows + 1"),
    ("databases", "UPDATE known SET rows = rows + 1"),
    ("databases", "DELETE FROM known"),
    ("unlogged", "INSERT INTO logged (body) VALUES ('one more')"),
    ("unlogged", "INSERT INTO scratch (body) VALUES ('left over')"),
    ("rowlock", "DELETE FROM public.exzo_ledger WHERE workload = 'rowlock' AND step = 1"),
  ])
  func aTableThatIsNotAsItWasLeftIsCaught(name: String, damage: String) async throws {
    let workload = try #require(Workloads.all.first { $0.name == name })
    try await withTemporaryDirectory { directory in
      let server = try StockServer(
        in: directory, settings: ["allow_system_table_mods=on"] + Workloads.settings)
      try server.start()
      try workload.prepare(on: server.connection)
      _ = try await WorkloadRun(on: server.connection, seed: 8).run([workload], seconds: 1)
      if name == "unlogged" { try server.psql("TRUNCATE unlogged.scratch") }
      #expect(try workload.failures(on: server.connection, isRecovered: true) == [])
      try server.psql("SET search_path = \(name), public; \(damage)")
      #expect(try workload.failures(on: server.connection, isRecovered: true) != [])
      try server.stop(mode: "immediate")
    }
  }
}
