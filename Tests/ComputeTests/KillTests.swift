import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Processes killed under load: nothing acknowledged is lost, and no manual step is needed.
@Suite(.serialized, .heavy) struct KillTests {
  @Test(arguments: [Victim.postgres, .child, .agent]) func killedUnderLoadLosesNothing(
    _ victim: Victim
  ) async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      let connection = engine.connection(root)
      let workload = DDLWorkload()
      try workload.prepare(on: connection)
      let run = WorkloadRun(on: connection, seed: 7, workersEach: 2, reconnects: true)
      async let report = run.run([workload], seconds: 20)
      for _ in 0..<3 {
        try await Task.sleep(for: .seconds(4))
        let status = try #require(await engine.fleet.client(line: root).status())
        switch victim {
        case .postgres: kill(status.serverPID, SIGKILL)
        case .agent: kill(status.agentPID, SIGKILL)
        case .child:
          let children = try TestSupport.run(
            ["pgrep", "-P", "\(status.serverPID)"], allowFailure: true
          ).output
          let pids = children.split(separator: "\n").compactMap { pid_t($0) }
          kill(try #require(pids.randomElement()), SIGKILL)
        }
      }
      let done = try await report
      let acknowledged = done.acknowledged[workload.name] ?? [:]
      #expect(done.reconnects > 0)
      try await waitUntilUp(connection)
      #expect(
        try workload.failures(on: connection, acknowledged: acknowledged) == [],
        "after killing \(victim)")
      #expect(try AmCheck.failures(on: connection) == [])
      // The line goes on: its head opens as a branch too.
      let head = try await engine.fleet.client(line: root).head()
      let (branch, _) = try await engine.open(root, at: head)
      #expect(
        try workload.failures(on: engine.connection(branch), acknowledged: acknowledged) == [])
    }
  }

  /// On a busy machine the last start may still be under way when the load ends.
  private func waitUntilUp(_ connection: ServerConnection) async throws {
    for _ in 0..<60 {
      if (try? connection.psql("SELECT pg_sleep(1)")) != nil { return }
      try await Task.sleep(for: .seconds(1))
    }
  }

  enum Victim: CustomTestStringConvertible {
    case postgres, agent
    /// Any process that the server has started: one may be halfway through a page.
    case child
    var testDescription: String {
      switch self {
      case .postgres: "postgres"
      case .agent: "agent"
      case .child: "a process of postgres"
      }
    }
  }
}
