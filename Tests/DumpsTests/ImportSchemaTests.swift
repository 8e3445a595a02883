import APITypes
import PostgresClient
import TestSupport
import Testing

@testable import Dumps

/// Schemas after an import: other words for the same are no difference, everything else is one.
@Suite(.serialized, .heavy, .needsPostgres()) struct ImportSchemaTests {
  /// What a server prints in other words once its own words were loaded.
  private static let schema = """
    CREATE TABLE orders (id int, state varchar(10) CHECK (state IN ('open', 'closed')),
      kind varchar DEFAULT 'a' CHECK (kind NOT IN ('x', 'y')));
    CREATE INDEX ON orders (id) WHERE state IN ('open', 'closed');
    CREATE VIEW either AS SELECT id FROM orders WHERE kind IN ('a', 'b');
    INSERT INTO orders SELECT n, 'open' FROM generate_series(1, 100) AS n;
    """

  /// - Parameter planted: run in the target when all is there and nothing is compared yet.
  private func run(
    _ scene: Scene, as user: String, planted: String? = nil
  ) async throws -> API.DumpVerification {
    try scene.server.psql("DROP DATABASE IF EXISTS target")
    try scene.server.psql("CREATE DATABASE target OWNER importer")
    @Sendable func parameters(_ database: String, _ user: String) -> ConnectionParameters {
      ConnectionParameters(
        host: scene.server.directory, port: scene.server.port, user: user, database: database)
    }
    let binaries = scene.server.binaries
    let found = try await onThread {
      try DatabaseImport(
        source: parameters("source", "postgres"), target: parameters("target", user), jobs: 1,
        scratch: scene.directory, programs: { _ in binaries },
        progress: { step in
          guard let planted, step == "comparing rows and contents" else { return }
          do { try scene.psql(planted, "target") } catch { Issue.record("\(error)") }
        }
      ).run()
    }
    #expect(
      try scene.server.psql("SELECT datname FROM pg_database WHERE datname LIKE 'exzo%'") == "")
    return found
  }

  private func with(_ body: (Scene) async throws -> Void) async throws {
    try await Scene.with { scene in
      try scene.server.psql("CREATE ROLE importer LOGIN CREATEDB; CREATE ROLE plain LOGIN")
      try scene.server.psql("GRANT importer TO plain")
      try scene.server.psql("CREATE DATABASE source")
      try scene.psql(Self.schema, "source")
      try await body(scene)
    }
  }

  @Test func otherWordsForTheSameAreNoDifference() async throws {
    try await with { scene in
      let found = try await run(scene, as: "importer")
      #expect(found.status == .passed && found.notes == [], "\(found)")
      // The test's subject: the words do differ.
      let definition = """
        SELECT string_agg(pg_get_constraintdef(oid), ' ' ORDER BY conname) FROM pg_constraint
        WHERE conrelid = 'orders'::regclass
        """
      #expect(try scene.psql(definition, "source") != scene.psql(definition, "target"))
    }
  }

  @Test func whatDoesDifferIsFoundAmongOtherWords() async throws {
    try await with { scene in
      for planted in [
        "ALTER TABLE orders DROP CONSTRAINT orders_state_check",
        """
        ALTER TABLE orders DROP CONSTRAINT orders_state_check, ADD CONSTRAINT orders_state_check
          CHECK (state IN ('open', 'closed', 'lost'))
        """, "DROP INDEX orders_id_idx", "ALTER TABLE orders ALTER kind SET DEFAULT 'b'",
        "CREATE OR REPLACE VIEW either AS SELECT id FROM orders WHERE kind IN ('a', 'c')",
        "CREATE SCHEMA more", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
      ] {
        let found = try await run(scene, as: "importer", planted: planted)
        #expect(found.status == .failed, "\(planted)")
        #expect(found.differences.count == 1, "\(planted): \(found.differences)")
        #expect(found.differences.first?.hasPrefix("schema:") == true)
      }
    }
  }

  @Test func whatCouldNotBeMadeIsADifference() async throws {
    try await with { scene in
      try scene.psql(
        "CREATE FUNCTION pid() RETURNS int LANGUAGE internal AS 'pg_backend_pid'", "source")
      let found = try await run(scene, as: "importer")
      #expect(found.status == .failed && found.differences.count == 1, "\(found)")
      #expect(found.differences.first?.contains("pid()") == true, "\(found.differences)")
      #expect(found.notes.contains { $0.contains("not made") }, "\(found.notes)")
      #expect(found.notes.contains { $0.contains("a second time") }, "\(found.notes)")
    }
  }

  @Test func aRoleThatMakesNoDatabaseIsToldWhatCountsAsADifference() async throws {
    try await with { scene in
      let found = try await run(scene, as: "plain")
      #expect(found.status == .failed && found.differences.count == 1, "\(found)")
      #expect(found.notes.contains { $0.contains("other words for the same") }, "\(found.notes)")
    }
  }
}
