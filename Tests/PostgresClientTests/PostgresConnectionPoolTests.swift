import Foundation
import PostgresClient
import TestSupport
import Testing

@Suite struct PostgresConnectionPoolTests {
  @Test func jobsRunSideBySideOnTheirConnections() async throws {
    try await withServer { _, parameters in
      let pool = PostgresConnectionPool(parameters, size: 3) {
        try $0.execute("SET application_name = 'prepared'")
      }
      let sum = try await withThrowingTaskGroup(of: Int.self) { group in
        for number in 1...100 {
          group.addTask {
            try await pool.withConnection {
              try $0.query("SELECT $1::int AS n", parameters: [PostgresValue(number)]).rows[0]
                .value("n")
            }
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(sum == 5050)
      let sessions = try await pool.withConnection {
        try $0.query(
          "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'prepared'"
        ).rows[0].value("n", as: Int.self)
      }
      #expect((1...3).contains(sessions))
      await pool.close()
      await #expect(throws: PostgresError.self) { try await pool.withConnection { _ in } }
    }
  }

  @Test func aRestartedServerIsFoundAgain() async throws {
    try await withServer { server, parameters in
      let pool = PostgresConnectionPool(parameters, size: 1)
      let ask: @Sendable (PostgresConnection) throws -> String? = {
        try $0.query("SELECT 'here'").first?[0]
      }
      #expect(try await pool.withConnection(ask) == "here")
      try server.stop(mode: "immediate")
      let waiting = Task { try await pool.withConnection(ask) }
      try server.start()
      #expect(try await waiting.value == "here")
      #expect(try await pool.withConnection(ask) == "here")
      await pool.close()
    }
  }

  @Test(.timeLimit(.minutes(1))) func anAbsentServerIsReportedInTime() async throws {
    let pool = PostgresConnectionPool(
      ConnectionParameters(host: "/nonexistent", user: "u"), size: 1,
      reconnectWithin: .milliseconds(200))
    let error = await #expect(throws: PostgresError.self) {
      try await pool.withConnection { _ in }
    }
    #expect(error?.code == .connectFailed)
    await pool.close()
  }

  /// Trying again for as long as a server may be away would change nothing.
  @Test(.timeLimit(.minutes(1))) func aServerThatCannotReadItsRolesIsReportedAtOnce() async throws {
    try await withServer { server, parameters in
      let roles = try server.psql("SELECT pg_relation_filepath('pg_authid')")
      try server.stop()
      let file = try FileHandle(
        forUpdating: URL(fileURLWithPath: "\(server.dataDirectory)/\(roles)"))
      try file.write(contentsOf: Data(repeating: 0x55, count: 8192))
      try file.close()
      try server.start()
      let pool = PostgresConnectionPool(parameters, size: 1, reconnectWithin: .seconds(600))
      let error = await #expect(throws: PostgresError.self) {
        try await pool.withConnection { _ in }
      }
      #expect(error?.message.contains("invalid page in block 0") == true, "\(error as Any)")
      await pool.close()
    }
  }

  @Test func aTransactionLeftOpenIsRolledBack() async throws {
    try await withServer { _, parameters in
      let pool = PostgresConnectionPool(parameters, size: 1)
      try await pool.withConnection {
        try $0.execute("CREATE TABLE t (i int)")
        try $0.execute("BEGIN")
        try $0.execute("INSERT INTO t VALUES (1)")
      }
      let count = try await pool.withConnection { try $0.query("SELECT count(*) FROM t").first?[0] }
      #expect(count == "0")
      await pool.close()
    }
  }

  @Test func aWaitingJobCanBeCancelledAndTheQueueIsBounded() async throws {
    try await withServer { _, parameters in
      let pool = PostgresConnectionPool(parameters, size: 1, queueLimit: 1)
      let release = DispatchSemaphore(value: 0)
      let (started, signal) = AsyncStream<Void>.makeStream()
      let running = Task {
        try await pool.withConnection { _ in
          signal.yield()
          release.wait()
        }
      }
      for await _ in started { break }
      let waiting = Task { try await pool.withConnection { _ in } }
      while pool.waitingJobs == 0 { await Task.yield() }
      let refusal = await #expect(throws: PostgresError.self) {
        try await pool.withConnection { _ in }
      }
      #expect(refusal?.code == .poolExhausted)
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      #expect(pool.waitingJobs == 0)
      release.signal()
      try await running.value
      await pool.close()
    }
  }
}
