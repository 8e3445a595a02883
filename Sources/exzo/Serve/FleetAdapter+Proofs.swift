import Compute
import ControlPlane
import Dumps
import DurableIO
import Foundation
import History
import ObjectStorage
import PostgresClient
import PostgresFormat

extension FleetAdapter {
  func verify(_ request: VerificationRequest) async throws -> LineProof? {
    guard LineID.isValid(request.lineID) else { return nil }
    let pace = ReadingPace(bytesPerSecond: request.bytesPerSecond)
    let line = LineID(rawValue: request.lineID)
    return try await translating {
      let report = try await self.checkedStore.lend { store in
        try await LineVerifier(store: store) { try await pace.spend($0) }.verify(line) {
          guard let promise = try await request.promised() else { return nil }
          return await Self.verifiable(promise, of: line, in: store)
        }
      }
      return LineProof(
        objects: report.objects, bytes: Int(report.bytes), moments: report.moments,
        problems: report.problems)
    }
  }

  private static func verifiable(
    _ promise: LinePromise, of line: LineID, in store: any ObjectStore
  ) async -> LineVerifier.Promise {
    var start = promise.start.map { PostgresTimestamp($0) }
    if let asked = start, !promise.inheritsWindow {
      // What a line promises begins with the line. Where its description is not to be read, the verification says so.
      let created = try? await LineHistory.open(line, store: store).description.createdAt
      start = max(asked, created ?? asked)
    }
    return LineVerifier.Promise(
      moments: promise.moments + promise.readings.map(\.lsn), windowStart: start)
  }

  func drill(_ request: DrillRequest) async throws -> DrillOutcome {
    try await translating {
      let clock = ContinuousClock()
      let start = clock.now
      let specification = try self.specification(
        for: ComputeRequest(
          computeID: request.computeID, projectID: request.projectID, branchID: "",
          endpointID: "", lineID: request.scratchLineID,
          origin: .branch(parentLine: request.lineID, lsn: request.lsn), major: request.major,
          settings: ComputeSettings(sharedBuffersMB: 64), roles: [], databases: []))
      let status = try await self.fleet.start(specification)
      let compute = self.running(specification, status)
      let look = DrillLook(compute: compute, binaries: self.binaries)
      try await look.answer()
      var outcome = DrillOutcome(toOpen: clock.now - start)
      try await look.run(&outcome)
      return outcome
    }
  }

  func endDrill(scratchLine: String) async throws {
    try await translating { try await self.fleet.destroy(line: scratchLine) }
    var keys: [ObjectKey] = []
    try await store.listAll(prefix: "lines/\(scratchLine)/") { keys.append($0.key) }
    if !keys.isEmpty { try await store.delete(keys) }
  }
}

/// Bytes a second that are read for nobody's sake but the proof's.
private actor ReadingPace {
  private let bytesPerSecond: UInt64
  private var free = ContinuousClock.now

  init(bytesPerSecond: UInt64) { self.bytesPerSecond = max(1, bytesPerSecond) }

  func spend(_ bytes: UInt64) async throws {
    let cost = Duration.seconds(Double(bytes) / Double(bytesPerSecond))
    free = max(free, ContinuousClock.now) + cost
    try await Task.sleep(until: free, clock: .continuous)
  }
}

/// Looks through an opened moment: structure by `pg_amcheck`, every table by counting it.
private struct DrillLook: Sendable {
  let compute: RunningCompute
  let binaries: String

  private func onConnection<Value: Sendable>(
    _ database: String, _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    try await compute.onSession(
      database, application: "exzo-drill",
      options: "-c search_path=pg_catalog -c synchronous_commit=local", body)
  }

  func answer() async throws { try await onConnection("postgres") { _ = try $0.query("SELECT 1") } }

  func run(_ outcome: inout DrillOutcome) async throws {
    let (databases, hasAmcheck) = try await onConnection("postgres") { connection in
      (
        try connection.query(
          """
          SELECT datname FROM pg_database
          WHERE datallowconn AND datconnlimit <> -2 AND datname <> 'template1' ORDER BY 1
          """
        ).rows.compactMap { $0[0] },
        try connection.query("SELECT FROM pg_available_extensions WHERE name = 'amcheck'").rowCount
          > 0
      )
    }
    outcome.databases = databases.count
    for database in databases {
      do {
        let (tables, rows) = try await onConnection(database, Self.count)
        outcome.tables += tables
        outcome.rows += rows
      } catch let error as PostgresError {
        outcome.problems.append("count the rows of database '\(database)': \(error)")
      }
    }
    try await amcheck(hasAmcheck, &outcome)
  }

  /// Every table is read whole: a page whose checksum is wrong ends it.
  private static func count(_ connection: PostgresConnection) throws -> (tables: Int, rows: Int) {
    let tables = try connection.query(
      """
      SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname <> 'information_schema'
        AND n.nspname !~ '^pg_' ORDER BY 1
      """
    ).rows.compactMap { $0[0] }
    var rows = 0
    for table in tables {
      rows +=
        try connection.query("SELECT count(*)::text AS n FROM \(table)").first?
        .value("n", as: Int.self) ?? 0
    }
    return (tables.count, rows)
  }

  /// Hours that `pg_amcheck` may take: a large database has more to look at than a drill has time for.
  private static let amcheckHours = 1

  /// What was not looked at to its end is no problem that was found.
  private func amcheck(_ isAvailable: Bool, _ outcome: inout DrillOutcome) async throws {
    let program = "\(binaries)/pg_amcheck"
    guard isAvailable, access(program, X_OK) == 0 else {
      outcome.amcheck = "not run: pg_amcheck and the amcheck extension are not installed"
      return
    }
    let result = try await runProgram(
      "/usr/bin/env",
      [
        "PGOPTIONS=\(ConnectionParameters.platformOptions)", program,
        "--host", compute.socketDirectory, "--port", "\(compute.port)", "--username",
        PostgresTenantConfigurator.superuser, "--no-password", "--all", "--install-missing",
        "--heapallindexed",
      ], seconds: Double(Self.amcheckHours * 3600))
    guard !result.isTimedOut else {
      outcome.amcheck = "not finished within \(Self.amcheckHours) h"
      return
    }
    outcome.amcheck = result.status == 0 ? "passed" : "failed"
    if result.status != 0 {
      outcome.problems.append("pg_amcheck: status \(result.status): \(result.output.suffix(2000))")
    }
  }
}
