import PostgresClient
import TestSupport
import Testing

@testable import Dumps

@Suite(.serialized, .heavy, .needsPostgres()) struct ImportLimitTests {
  /// The session that holds the snapshot is idle in its transaction for as long as the copy takes.
  @Test func anImportIsNotEndedByTheServersTimeLimits() async throws {
    try await Scene.with { scene in
      for database in ["source", "target"] {
        try scene.server.psql("CREATE DATABASE \(database)")
        for limit in ["idle_in_transaction_session_timeout", "idle_session_timeout"] {
          try scene.server.psql("ALTER DATABASE \(database) SET \(limit) = '20ms'")
        }
      }
      try scene.psql(
        "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 20000) AS n", "source")
      @Sendable func parameters(_ database: String) -> ConnectionParameters {
        ConnectionParameters(
          host: scene.server.directory, port: scene.server.port, user: "postgres",
          database: database)
      }
      let binaries = scene.server.binaries
      let found = try await onThread {
        try DatabaseImport(
          source: parameters("source"), target: parameters("target"), jobs: 2,
          scratch: scene.directory, programs: { _ in binaries }, progress: { _ in }
        ).run()
      }
      #expect(found.status == .passed, "\(found.differences)")
      #expect(try scene.psql("SELECT count(*) FROM t", "target") == "20000")
    }
  }
}
