import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// A moment that Exzo opens holds what PostgreSQL itself recovers there.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct StockRecoveryTests {
  /// Both sides start from the same server's WAL files; ours also from keyframes and chunks.
  @Test func dumpOfABranchEqualsThatOfAClusterThatPostgresRecovered() async throws {
    try await withEngine { engine in
      let origin = try await Origin(engine, seed: 21)
      var random = SeededRandom(seed: 22)
      var targets = (0..<2).map { _ in origin.summary.recordStarts.randomElement(using: &random)! }
      targets.append(try #require(origin.summary.lastCommit(before: origin.end)).lsn)
      for (number, target) in targets.sorted().enumerated() {
        let stock = try await onThread {
          try origin.recovery.recover(to: target, in: "\(origin.directory)/stock\(number)")
        }
        let truth = ServerConnection(
          host: stock.directory, user: ServerAccess.superuser, database: "exzodb")
        try await engine.withBranch(of: origin.line, at: target) { branch, _ in
          let copy = engine.connection(branch)
          let differences = try await onThread { try DumpComparison.differences(truth, copy) }
          #expect(differences == [], "at \(target)")
          #expect(try copy.psql(catalogue) == truth.psql(catalogue), "at \(target)")
          // The comparison sees one row more.
          try copy.psql("INSERT INTO pgbench_history (tid) VALUES (-1)")
          #expect(try await onThread { try DumpComparison.differences(truth, copy) } != [])
        }
        try stock.stop(mode: "immediate")
      }
    }
  }
}

/// What a dump leaves out: prepared transactions, files and identities of relations.
private let catalogue =
  """
  SELECT gid, owner, database, transaction FROM pg_prepared_xacts ORDER BY 1;
  SELECT oid, relname, pg_relation_filenode(oid), relkind, relpersistence FROM pg_class ORDER BY 1;
  SELECT datname, oid FROM pg_database ORDER BY 1
  """

/// A compute at work, a base backup taken meanwhile, and the WAL that its server wrote.
private struct Origin {
  let line: String
  let directory: String
  let recovery: StockRecovery
  let summary: WALSummary
  let end: LSN

  init(_ engine: Engine, seed: UInt64) async throws {
    directory = engine.directory
    line = try await engine.openRoot(Engine.workloadSettings)
    let server = engine.connection(line)
    let workloads: [any Workload] = [
      DDLWorkload(), TwoPhaseWorkload(), LargeObjectWorkload(), SequenceWorkload(),
      RewriteWorkload(),
    ]
    for workload in workloads { try workload.prepare(on: server) }
    try server.pgbench(["-i", "-q", "-s", "1"])
    // The WAL from the backup on stays, however much the workloads write.
    try server.psql("SELECT pg_create_physical_replication_slot('kept', true)")
    // One round while the backup is taken, one behind it: the moments are of the second.
    let base = "\(directory)/base"
    async let first = WorkloadRun(on: server, seed: seed).run(workloads, seconds: 3)
    try await onThread {
      try StockServer.makeBaseBackup(of: server, to: base, asPostgresUser: false)
    }
    _ = try await first
    // The compute knows its clients by their system user; the copy is asked by whoever reaches it.
    try Data("local all all trust\n".utf8)
      .write(to: URL(fileURLWithPath: "\(base)/data/pg_hba.conf"))
    let start = try await engine.head(line)
    async let second = WorkloadRun(on: server, seed: seed + 1).run(workloads, seconds: 5)
    _ = try await onThread { try server.pgbench(["-n", "-c", "2", "-T", "5"]) }
    _ = try await second
    end = try await engine.head(line)
    try server.psql("SELECT pg_switch_wal(); CHECKPOINT")
    let wal = "\(directory)/server-wal"
    try StockServer.makeOwnedDirectory(wal)
    let source = engine.fleet.directory(line: line).wal
    try run(["/bin/sh", "-c", "cp '\(source)'/0* '\(wal)/' && chown -R postgres: '\(wal)'"])
    summary = try WALSummary(directory: wal, from: start, to: end)
    recovery = StockRecovery(
      baseBackup: base, walDirectory: wal,
      settings: Workloads.settings + ["max_worker_processes=8", "max_connections=100"])
  }
}
