import Foundation
import TestSupport
import Testing

@testable import Compute

/// A compute whose agent died comes up again by itself, and what was ordered since then goes first.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE, .needsRoot) struct RevivalTests {
  @Test func aComputeWhoseAgentDiedComesUpAgainByItself() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try engine.psql(root, "CREATE TABLE t AS SELECT 1 AS n")
      try await engine.killAgent(root)
      try await awaitRunning(root, engine)
      #expect(try engine.psql(root, "SELECT n FROM t") == "1")
      try await engine.fleet.suspend(line: root)
    }
  }

  /// The second accident in a row is waited for; meanwhile somebody wakes the compute and suspends it.
  @Test func aRevivalGivesWayToASuspensionOrderedAfterTheAccident() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      try await engine.killAgent(root)
      try await awaitRunning(root, engine)
      try await engine.killAgent(root)
      try await engine.wake(root)
      try await engine.fleet.suspend(line: root)
      // The revival was due two seconds after the accident.
      for _ in 0..<30 {
        try await Task.sleep(for: .milliseconds(100))
        let status = await engine.fleet.client(line: root).status()
        try #require(
          status == nil, "started again by nobody's order: \(String(describing: status))")
      }
    }
  }

  private func awaitRunning(_ line: String, _ engine: Engine) async throws {
    for _ in 0..<600 {
      if await engine.fleet.client(line: line).status()?.phase == .running { return }
      try await Task.sleep(for: .milliseconds(50))
    }
    throw CommandFailure(description: "wait for \(line): not up again within 30 s")
  }
}
