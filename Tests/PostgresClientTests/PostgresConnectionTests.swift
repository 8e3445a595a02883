import Foundation
import PostgresClient
import PostgresFormat
import TestSupport
import Testing

/// Runs `body` with a started stock server and parameters that reach it.
func withServer(
  settings: [String] = [], _ body: (StockServer, ConnectionParameters) async throws -> Void
) async throws {
  try await withTemporaryDirectory { directory in
    let server = try StockServer(in: directory + "/server", settings: settings)
    try server.start()
    do {
      try await body(
        server, ConnectionParameters(host: server.directory, user: "postgres"))
    } catch {
      // The first error is the one to report; the server may be down already.
      try? server.stop(mode: "immediate")
      throw error
    }
    // A test may have stopped it.
    try? server.stop(mode: "immediate")
  }
}

@Suite struct PostgresConnectionTests {
  @Test func valuesComeBackAsSent() async throws {
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      let text = "Grüße, 世界 🐘 \\ ' \" \t"
      let row = try connection.query(
        "SELECT $1::text AS t, $2::int8 AS i, $3::bool AS b, $4::float8 AS d, $5 AS raw, "
          + "$6::text AS nothing, $7::pg_lsn AS l, $8::text AS empty, $9 AS none",
        parameters: [
          .text(text), PostgresValue(Int64.min), true, 1.5, .bytes([0, 255, 10]), nil,
          PostgresValue(LSN(0x1_2345_6789)), "", .bytes([]),
        ]
      ).first
      let values = try #require(row)
      #expect(try values.value("t") == text)
      #expect(try values.value("i", as: Int64.self) == Int64.min)
      #expect(try values.value("b") == true)
      #expect(try values.value("d") == 1.5)
      #expect(try values.value("raw", as: [UInt8].self) == [0, 255, 10])
      #expect(values["nothing"] == nil)
      #expect(try values.optional("nothing", as: String.self) == nil)
      #expect(try values.value("l") == LSN(0x1_2345_6789))
      #expect(values["empty"] == "")
      #expect(try values.value("none", as: [UInt8].self) == [])
    }
  }

  @Test func undecodableValuesAreErrors() async throws {
    try await withServer { _, parameters in
      let row = try #require(
        try PostgresConnection(parameters).query("SELECT 'x' AS word, NULL::int AS gone").first)
      #expect(throws: PostgresError.self) { try row.value("word", as: Int.self) }
      #expect(throws: PostgresError.self) { try row.value("gone", as: Int.self) }
      #expect(throws: PostgresError.self) { try row.optional("absent", as: Int.self) }
    }
  }

  @Test func serverErrorsCarryTheirFieldsAndTheSessionLives() async throws {
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      let error = #expect(throws: PostgresError.self) { try connection.query("SELECT 1 FORM x") }
      #expect(error?.code == .server)
      #expect(error?.sqlState == "42601")
      #expect(error?.position == 15)
      #expect(error?.isConnectionLoss == false)
      try connection.execute("CREATE TABLE t (i int PRIMARY KEY)")
      #expect(try connection.query("INSERT INTO t VALUES (1), (2)").rowsAffected == 2)
      let duplicate = #expect(throws: PostgresError.self) {
        try connection.query("INSERT INTO t VALUES ($1)", parameters: [1])
      }
      #expect(duplicate?.sqlState == "23505")
      #expect(duplicate?.detail == "Key (i)=(1) already exists.")
      #expect(try connection.query("SELECT i FROM t ORDER BY i").rows.map { $0[0] } == ["1", "2"])
    }
  }

  @Test func scriptsRunAsOneAndAnswerEach() async throws {
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      let results = try connection.execute(
        "CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 7); TABLE t")
      #expect(results.map(\.commandTag) == ["CREATE TABLE", "INSERT 0 7", "SELECT 7"])
      #expect(throws: PostgresError.self) {
        try connection.execute("INSERT INTO t VALUES (8); SELECT 1/0; INSERT INTO t VALUES (9)")
      }
      #expect(try connection.query("SELECT count(*) FROM t").first?[0] == "7")
      #expect(try connection.execute("").first?.rowCount == 0)
    }
  }

  @Test func transactionsCommitOrLeaveNothing() async throws {
    struct Stop: Error {}
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      try connection.execute("CREATE TABLE t (i int)")
      let answer = try connection.withTransaction(isolation: .serializable) {
        try $0.query("INSERT INTO t VALUES (1)")
        return 42
      }
      #expect(answer == 42)
      #expect(throws: Stop.self) {
        try connection.withTransaction {
          try $0.query("INSERT INTO t VALUES (2)")
          throw Stop()
        }
      }
      let hidden = #expect(throws: PostgresError.self) {
        try connection.withTransaction {
          try $0.query("INSERT INTO t VALUES (3)")
          _ = try? $0.query("SELECT 1/0")
        }
      }
      #expect(hidden?.sqlState == "25P02")
      #expect(!connection.isInTransaction)
      #expect(try connection.query("TABLE t").rows.map { $0[0] } == ["1"])
    }
  }

  @Test func bigValuesPass() async throws {
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      let bytes = (0..<20_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      let row = try connection.query(
        "SELECT $1 AS b, length($1) AS n, md5($1) AS m", parameters: [.bytes(bytes)]
      ).first
      #expect(try row?.value("n", as: Int.self) == bytes.count)
      #expect(try row?.value("b", as: [UInt8].self) == bytes)
    }
  }

  @Test func zeroBytesAreRefusedBeforeSending() async throws {
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      for attempt in [
        { try connection.query("SELECT $1", parameters: ["a\0b"]) },
        { try connection.query("SELECT '\0'") },
      ] {
        #expect(throws: PostgresError.self) { try attempt() }
      }
      #expect(try connection.query("SELECT 1").first?[0] == "1")
    }
  }

  @Test func quotingSurvivesHostileText() async throws {
    try await withServer(settings: ["standard_conforming_strings=off"]) { _, parameters in
      let connection = try PostgresConnection(parameters)
      for text in ["it's", "back\\slash", "\\'; DROP TABLE x; --", "q\u{301}'\u{301}\"", ""] {
        let literal = try SQL.literal(text)
        #expect(try connection.query("SELECT \(literal) AS v").first?["v"] == text)
      }
      let name = "odd \"name\" \\ ü'"
      try connection.execute("CREATE TABLE \(SQL.identifier(name)) (i int)")
      let found = try connection.query(
        "SELECT count(*) FROM pg_class WHERE relname = $1", parameters: [.text(name)])
      #expect(found.first?[0] == "1")
      #expect(throws: PostgresError.self) { try SQL.identifier("") }
      #expect(throws: PostgresError.self) { try SQL.literal("\0") }
    }
  }

  @Test func namesAreNeverParsedAsConnectionStrings() async throws {
    try await withServer { _, parameters in
      var odd = parameters
      odd.database = "host=elsewhere dbname=postgres"
      let error = #expect(throws: PostgresError.self) { try PostgresConnection(odd) }
      #expect(error?.message.contains("database \"host=elsewhere") == true)
    }
  }

  @Test func refusedConnectionsNameTheSocket() throws {
    let error = #expect(throws: PostgresError.self) {
      try PostgresConnection(ConnectionParameters(host: "/nonexistent", port: 7, user: "u"))
    }
    #expect(error?.code == .connectFailed)
    #expect(error?.isConnectionLoss == true)
    #expect(error?.message.contains("/nonexistent/.s.PGSQL.7") == true)
    let refused = #expect(throws: PostgresError.self) {
      try PostgresConnection(ConnectionParameters(host: "127.0.0.1", port: 1, user: "u"))
    }
    #expect(refused?.message.contains("127.0.0.1") == true)
  }

  @Test func noticesReachTheirReader() async throws {
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      var seen: [PostgresNotice] = []
      connection.onNotice = { seen.append($0) }
      try connection.execute("DO $$ BEGIN RAISE WARNING 'careful'; END $$")
      #expect(seen.map(\.message) == ["careful"])
      #expect(seen.first?.severity == "WARNING")
    }
  }

  @Test func copyPassesBothWays() async throws {
    struct Stop: Error {}
    try await withServer { _, parameters in
      let connection = try PostgresConnection(parameters)
      try connection.execute("CREATE TABLE t (i int, w text)")
      let rows = try connection.copyIn("COPY t FROM STDIN") { write in
        for number in 1...1000 { try Array("\(number)\tw\(number)\n".utf8).withUnsafeBytes(write) }
      }
      #expect(rows == 1000)
      var bytes = 0
      try connection.copyOut("COPY t TO STDOUT") { bytes += $0.count }
      #expect(bytes == (1...1000).reduce(0) { $0 + "\($1)\tw\($1)\n".utf8.count })
      #expect(throws: Stop.self) {
        try connection.copyIn("COPY t FROM STDIN") { write in
          try Array("1\tx\n".utf8).withUnsafeBytes(write)
          throw Stop()
        }
      }
      #expect(throws: Stop.self) {
        try connection.copyOut("COPY t TO STDOUT") { _ in throw Stop() }
      }
      for sql in ["COPY t TO STDOUT", "COPY t FROM STDIN"] {
        let error = #expect(throws: PostgresError.self) { try connection.query(sql) }
        #expect(error?.code == .unexpectedReply)
      }
      #expect(throws: PostgresError.self) { try connection.copyOut("SELECT 1") { _ in } }
      #expect(try connection.query("SELECT count(*) FROM t").first?[0] == "1000")
    }
  }

  @Test func aRunningStatementCanBeCancelled() async throws {
    try await withServer { server, parameters in
      let connection = try PostgresConnection(parameters)
      let cancellation = connection.cancellation
      let pid = connection.backendProcessID
      let canceller = Thread {
        do {
          let other = try PostgresConnection(parameters)
          while try other.query(
            "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'",
            parameters: [PostgresValue(pid)]
          ).rowCount == 0 {}
          try cancellation.cancel()
        } catch { Issue.record(error) }
      }
      canceller.start()
      let error = #expect(throws: PostgresError.self) {
        try connection.query("SELECT pg_sleep(60)")
      }
      #expect(error?.sqlState == "57014")
      #expect(try connection.query("SELECT 1").first?[0] == "1")
    }
  }

  @Test func aServerKilledInMidQueryIsAConnectionLoss() async throws {
    try await withServer { server, parameters in
      let connection = try PostgresConnection(parameters)
      let pid = connection.backendProcessID
      let killer = Thread {
        do {
          let other = try PostgresConnection(parameters)
          while try other.query(
            "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'",
            parameters: [PostgresValue(pid)]
          ).rowCount == 0 {}
          kill(pid, SIGKILL)
        } catch { Issue.record(error) }
      }
      killer.start()
      let error = #expect(throws: PostgresError.self) {
        try connection.query("SELECT pg_sleep(60)")
      }
      #expect(error?.code == .connectionLost)
      #expect(!connection.isAlive)
      #expect(throws: PostgresError.self) { try connection.query("SELECT 1") }
      connection.close()
      let closed = #expect(throws: PostgresError.self) { try connection.query("SELECT 1") }
      #expect(closed?.code == .closed)
    }
  }
}
