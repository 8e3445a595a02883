import Foundation
import PostgresProxy
import TestSupport
import Testing

@Suite(.backend, .serialized)
struct ProxySessionTests {
  @Test func cancelReachesTheRightSessionWithOtherKeys() async throws {
    try await withProxy { proxy in
      for mode in ["require", "disable"] {
        let sleeper = "SELECT pg_sleep(60), '\(mode)'"
        let pidFile = "\(proxy.stateDirectory)/psql.pid"
        async let result = command(
          [
            "sh", "-c", "echo $$ > \(pidFile); exec psql -AtXqc \"$0\" \"$1\"", sleeper,
            proxy.conninfo(),
          ],
          environment: proxy.environment.merging(["PGSSLMODE": mode]) { $1 },
          allowFailure: true)
        let server = proxy.backend.server
        try await eventually("the query runs") {
          try server.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%\(mode)%'")
            == "2"
        }
        let pid = try String(contentsOfFile: pidFile, encoding: .utf8)
        try await command(["kill", "-INT", pid.trimmingCharacters(in: .newlines)])
        let found = try await result.errorOutput
        #expect(found.contains("canceling statement due to user request"))
      }
      try await eventually("both sessions are over") { proxy.directory.now.closed == 2 }
    }
  }

  @Test func bigResultsAndCopyBothWaysKeepEveryByte() async throws {
    try await withProxy { proxy in
      let rows = try await proxy.query(
        """
        CREATE TABLE t AS SELECT i, repeat(md5(i::text), 20) AS v FROM generate_series(1, 60000) i;
        COPY t TO STDOUT;
        """)
      #expect(rows.utf8.count > 38_000_000)
      let copied = try await proxy.query(
        "CREATE TABLE u (LIKE t); COPY u FROM STDIN;\n\(rows)\n\\.\n"
          + "SELECT count(*), md5(string_agg(v, '' ORDER BY i)) = "
          + "(SELECT md5(string_agg(v, '' ORDER BY i)) FROM t) FROM u; DROP TABLE t, u;")
      #expect(copied == "60000|t")
    }
  }

  @Test func dumpIsCompleteAndCountedAsSuch() async throws {
    try await withProxy { proxy in
      _ = try await proxy.query("CREATE TABLE d AS SELECT generate_series(1, 1000) AS i")
      let dump = try await command(
        ["pg_dump", "-d", proxy.conninfo(), "-t", "d"], environment: proxy.environment)
      #expect(dump.output.contains("\n1000\n\\."))
      try await eventually("dump counted") { proxy.directory.bytes(.dump) > 4_000 }
      _ = try await proxy.query("DROP TABLE d")
    }
  }

  @Test func pgbenchRunsThroughTLS() async throws {
    try await withProxy { proxy in
      let environment = proxy.environment
      let target = proxy.conninfo()
      try await command(["pgbench", "-i", "-q", target], environment: environment)
      let report = try await command(
        ["pgbench", "-c", "8", "-t", "100", target], environment: environment)
      #expect(report.output.contains("actually processed: 800/800"))
      try await proxy.expect(
        "SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts",
        gives: "t")
      try await eventually("sessions are over") {
        proxy.directory.now.opened == proxy.directory.now.closed
      }
      #expect(proxy.proxy.connectionCount == 0)
    }
  }

  @Test func killedBackendEndsIn57P01() async throws {
    try await withProxy { proxy in
      let sleeper = Task { try await proxy.psql("SELECT pg_sleep(60)") }
      let server = proxy.backend.server
      let find = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
      try await eventually("the query runs") { try !server.psql(find).isEmpty }
      let pid = try server.psql(find)
      try run(["kill", "-9", pid])
      let result = try await sleeper.value
      #expect(result.status == 2)
      #expect(result.errorOutput.contains("the compute ended this connection"))
      try await eventually("recovery ends") { (try? server.psql("SELECT 1")) == "1" }
      try await proxy.expect("SELECT 1", gives: "1")
    }
  }

  @Test func byteCountEqualsACountingRelays() async throws {
    try await withProxy { proxy in
      let relay = try await CountingRelay.start(to: proxy.port)
      let settings = ["port": "\(relay.port)", "gssencmode": "disable"]
      let rows = try await proxy.query(
        "SELECT repeat('x', 100) FROM generate_series(1, 5000)", settings,
        environment: ["PGSSLMODE": "disable"])
      #expect(rows.utf8.count > 500_000)
      try await eventually("session over") { proxy.directory.now.closed == 1 }
      #expect(proxy.directory.bytes(.query) == relay.bytesToClient)
      try await relay.stop()
    }
  }

  @Test func slowReaderHoldsTheServerBack() async throws {
    try await withProxy { proxy in
      let client = try await RawClient.connect(to: proxy.port)
      try await client.logIn()
      try await client.query("SELECT repeat('x', 1000) FROM generate_series(1, 200000)")
      try await client.setReading(false)
      var last = -1
      try await eventually("the count stands still") {
        let bytes = proxy.directory.bytes(.query)
        defer { last = bytes }
        if bytes == last, bytes > 0 { return true }
        try await Task.sleep(for: .milliseconds(1_200))
        return false
      }
      #expect(proxy.directory.bytes(.query) < 40_000_000)
      try await client.setReading(true)
      try await client.waitForBytes(200_000_000)
      try await client.close()
    }
  }

  @Test func shutdownEndsIdleSessionsWith57P01AndLetsOthersFinish() async throws {
    try await withProxy { proxy in
      let idle = try await RawClient.connect(to: proxy.port)
      try await idle.logIn()
      let busy = Task { try await proxy.psql("SELECT pg_sleep(1), 'done'") }
      try await eventually("both are in") { proxy.directory.now.opened == 2 }
      try await Task.sleep(for: .milliseconds(200))
      try await proxy.proxy.shutdown(grace: .seconds(20))
      #expect(try await busy.value.output.contains("done"))
      #expect(try await idle.end().contains("57P01"))
      #expect(proxy.directory.now.closed == 2)
    }
  }
}
