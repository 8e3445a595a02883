import ControlPlane
import Foundation
import TestSupport
import Testing

@testable import Dumps

/// What a restore needs of the place that it goes to, and gives to it.
@Suite(.serialized, .heavy, .needsPostgres()) struct PlaceTests {
  private static let name = Scene.database.replacing("\"", with: "\"\"")

  @Test func aDatabaseThatIsMadeHasItsRightsSettingsAndComment() async throws {
    try await Scene.with { scene in
      try scene.fill()
      try scene.psql(
        """
        REVOKE CONNECT ON DATABASE "\(Self.name)" FROM PUBLIC;
        GRANT CONNECT ON DATABASE "\(Self.name)" TO reader WITH GRANT OPTION;
        ALTER DATABASE "\(Self.name)" SET work_mem = '5MB';
        ALTER DATABASE "\(Self.name)" SET search_path = "odd schema", public;
        ALTER DATABASE "\(Self.name)" SET log_statement = 'all';
        ALTER DATABASE "\(Self.name)" SET role = 'reader';
        ALTER DATABASE "\(Self.name)" CONNECTION LIMIT 7;
        COMMENT ON DATABASE "\(Self.name)" IS 'it''s said';
        """)
      _ = try await scene.make("d1")
      let notes = try await scene.restore("d1", into: "made")
      // Only a superuser may.
      #expect(
        notes.filter { $0.contains("setting") }.allSatisfy { $0.contains("'log_statement'") }
          && notes.contains { $0.contains("permission denied to set parameter") }, "\(notes)")
      let looks = """
        SELECT has_database_privilege('reader', oid, 'CONNECT WITH GRANT OPTION'),
          (SELECT string_agg(a.grantee::text || a.privilege_type, ',' ORDER BY 1)
            FROM aclexplode(datacl) AS a WHERE a.grantee = 0),
          datconnlimit, shobj_description(oid, 'pg_database'),
          (SELECT string_agg(c, '; ' ORDER BY c) FROM pg_db_role_setting, unnest(setconfig) AS c
            WHERE setdatabase = d.oid AND setrole = 0 AND c <> 'log_statement=all')
        FROM pg_database AS d WHERE datname =
        """
      let expected = try scene.server.psql(
        "\(looks) '\(Scene.database.replacing("'", with: "''"))'")
      let found = try scene.server.psql("\(looks) 'made'")
      #expect(found == expected)
      #expect(expected.hasPrefix("t|0TEMPORARY|7|it's said|role=reader; search"), "\(expected)")
      #expect(try scene.restoreRoles == "0")
    }
  }

  @Test func ownersWhoMayMakeNothingInTheDatabaseGetWhatWasTheirs() async throws {
    try await Scene.with { scene in
      try scene.fill()
      try scene.server.psql(#"CREATE ROLE "odd ""role"; CREATE ROLE publisher"#)
      try scene.psql(
        #"""
        GRANT SELECT ON customers TO "odd ""role";
        CREATE PUBLICATION ours FOR TABLE customers;
        GRANT CREATE ON DATABASE "\#(Self.name)" TO publisher; ALTER PUBLICATION ours OWNER TO publisher;
        CREATE SCHEMA theirs AUTHORIZATION publisher;
        REVOKE CREATE ON DATABASE "\#(Self.name)" FROM publisher;
        """#)
      _ = try await scene.make("d1")
      try scene.psql(#"REVOKE ALL ON customers FROM "odd ""role"; DROP ROLE "odd ""role""#)
      let notes = try await scene.restore("d1", into: "made")
      #expect(notes.contains { $0.hasPrefix(#"role 'odd "role' was made"#) }, "\(notes)")
      #expect(
        try scene.psql(
          """
          SELECT pubowner::regrole, nspowner::regrole,
            has_database_privilege('publisher', current_database(), 'CREATE')
          FROM pg_publication, pg_namespace WHERE nspname = 'theirs'
          """, "made") == "publisher|publisher|f")
    }
  }

  @Test func aMaterializedViewRestoredByNameIsFilled() async throws {
    try await Scene.with { scene in
      try scene.fill()
      try scene.psql("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM customers")
      try scene.psql("ALTER MATERIALIZED VIEW counted OWNER TO app")
      _ = try await scene.make("d1")
      _ = try await scene.restore("d1", into: "made", tables: ["customers", "counted"])
      #expect(try scene.psql("SELECT n FROM counted", "made") == "50")
    }
  }

  @Test func whatCannotBeRestoredSaysWhy() async throws {
    try await Scene.with { scene in
      try scene.fill()
      try scene.psql("ALTER TABLE orders ENABLE ALWAYS TRIGGER stamped")
      _ = try await scene.make("d1")
      try scene.server.psql("CREATE DATABASE made OWNER app")
      try scene.psql("CREATE TYPE mood AS ENUM ('sad', 'it''s <ok>')", "made")
      let notes = try await scene.restore("d1", into: "made", tables: ["orders"])
      #expect(
        notes.contains {
          $0.contains("trigger 'orders stamped'") && $0.contains("stamp() does not exist")
        }, "\(notes)")
      #expect(!notes.contains { $0.contains("aborted") }, "\(notes)")
    }
  }
}
