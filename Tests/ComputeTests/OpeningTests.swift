import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

@Suite(.serialized) struct OpeningTests {
  @Test func branchAtAnLSNHoldsExactlyTheCommitsBelowIt() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE t (n int)")
      var marks: [(Int, LSN)] = []
      for n in 1...5 {
        try engine.psql(root, "INSERT INTO t VALUES (\(n))")
        marks.append((n, try await engine.fleet.client(line: root).head()))
      }
      for (n, lsn) in [marks[1], marks[3]] {
        let (branch, status) = try await engine.open(root, at: lsn)
        print(status.steps.map { "\($0.name) \(Int($0.milliseconds))" }.joined(separator: ", "))
        #expect(
          try engine.psql(branch, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t")
            == (1...n).map(String.init).joined(separator: ","))
        try engine.psql(branch, "INSERT INTO t VALUES (100)")
      }
      #expect(try engine.psql(root, "SELECT count(*) FROM t") == "5")
    }
  }

  @Test func suspendedComputeWakesWithAllItsData() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE t AS SELECT generate_series(1, 10000) AS n")
      for _ in 0..<2 {
        try await engine.fleet.suspend(line: root)
        #expect(await engine.fleet.client(line: root).status() == nil)
        let specification = try #require(try engine.fleet.specification(line: root))
        let status = try await engine.fleet.start(specification)
        print(status.steps.map { "\($0.name) \(Int($0.milliseconds))" }.joined(separator: ", "))
        #expect(try engine.psql(root, "SELECT count(*), sum(n) FROM t") == "10000|50005000")
      }
    }
  }
}
