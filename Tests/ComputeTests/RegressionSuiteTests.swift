import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// PostgreSQL's own suite, run on a compute by its superuser as on a plain server.
///
/// Takes minutes and downloads Debian's source package once: `make regress`.
@Suite(
  .serialized, .heavy, .needsPostgres(), .needsFUSE,
  .enabled(
    if: ProcessInfo.processInfo.environment["EXZO_REGRESS"] == "1",
    "runs by `make regress`, which sets EXZO_REGRESS=1"))
struct RegressionSuiteTests {
  @Test func theStockSuitePassesAndItsDatabaseIsWholeInABranch() async throws {
    try await withEngine { engine in
      var settings = ServerSettings()
      // The suite's own driver asks for these (`src/test/regress/GNUmakefile`).
      settings.maxPreparedTransactions = 2
      settings.extra = ["track_commit_timestamp": "on"]
      let root = try await engine.openRoot {
        $0.settings = settings
        $0.restoreObjective = 0.03
      }
      let begin = try await engine.head(root)
      let socket = engine.fleet.directory(line: root).run
      let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("scripts/regress").path
      let result = try await onThread {
        try run(
          [
            script, socket, "5432", "--user", ServerAccess.superuser, "--as-caller",
            // Its types need its library as long as anybody reads them.
            "--keep", "\(engine.directory)/suite",
          ],
          allowFailure: true)
      }
      print(result.output.suffix(12_000))
      #expect(result.status == 0, "\(result.errorOutput.suffix(4000))")
      #expect(result.output.contains("tests passed"))
      let server = engine.connection(root).with(database: "regression")
      #expect(try AmCheck.failures(on: server) == [])
      let (branch, status) = try await engine.open(root, at: try await engine.head(root))
      print(status.steps.map { "\($0.name) \(Int($0.milliseconds)) ms" }.joined(separator: ", "))
      let copy = engine.connection(branch).with(database: "regression")
      #expect(try DumpComparison.differences(server, copy) == [])
      #expect(try AmCheck.failures(on: copy) == [])
      try await compareMoments(of: root, from: begin, engine)
    }
  }

  /// Random moments of the suite's own WAL, opened without replay and by replay, page by page.
  ///
  /// `EXZO_MOMENTS` of them; 12 unless it is set.
  private func compareMoments(of root: String, from begin: LSN, _ engine: Engine) async throws {
    let range = begin...(try await engine.head(root))
    var random = SeededRandom(seed: 51)
    var proof = MomentProof()
    for attempt in 0..<LazyMomentTests.moments * 2 where proof.moments < LazyMomentTests.moments {
      try await engine.prove(
        &proof, root, at: random.moment(in: range), [], queries: attempt % 6 == 5,
        ahead: random.oneIn(2), kills: attempt % 4 == 1)
    }
    print("proof (regression suite): \(proof.summary)")
    proof.requireEveryLog()
    #expect(proof.moments > LazyMomentTests.moments / 2)
  }
}
