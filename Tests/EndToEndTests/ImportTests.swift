import Foundation
import TestSupport
import Testing

/// `exzo import`, `exzo databases` and `exzo roles`, as an operator types them.
@Suite(.serialized, .heavy) struct ImportTests {
  private static let workload = """
    CREATE EXTENSION pgcrypto; CREATE SCHEMA "Größe";
    CREATE TYPE mood AS ENUM ('so', 'la la');
    CREATE TABLE "Größe"."quo""te" (id serial PRIMARY KEY, m mood DEFAULT 'so', x numeric, j jsonb);
    INSERT INTO "Größe"."quo""te" (x, j) SELECT n / 7.0, jsonb_build_object('n', n)
      FROM generate_series(1, 20000) AS n;
    CREATE TABLE child (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
      parent int REFERENCES "Größe"."quo""te", at timestamptz DEFAULT '2026-01-02 03:04:05+01',
      kind varchar(10) DEFAULT 'plain' CHECK (kind IN ('plain', 'other')));
    INSERT INTO child (parent) SELECT n FROM generate_series(1, 500) AS n;
    CREATE INDEX ON child (at); CREATE VIEW v AS SELECT count(*) FROM child;
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 42';
    SELECT lo_from_bytea(0, '\\x00ff');
    CREATE TABLE hidden (i int); INSERT INTO hidden VALUES (1), (2);
    ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON hidden USING (i = 1);
    """

  @Test func aDatabaseElsewhereIsBroughtInWhole() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"in"}}"#)
      try await platform.settle(created.string("project.id"))
      let server = try StockServer(in: "\(platform.directory)/elsewhere")
      try server.start()
      try server.psql(Self.workload)
      func exzo(_ arguments: [String], status: Int32 = 0) throws -> String {
        let result = try platform.exzo(arguments, status: status)
        return result.output + result.errorOutput
      }
      _ = try exzo(["databases", "create", "app"])
      #expect(try exzo(["databases"]).contains("app"))
      let source =
        "postgresql://postgres@/postgres?host=\(server.directory)&port=\(server.port)"
      let said = try exzo(["import", source, "--database", "app", "--jobs", "2"])
      #expect(said.contains("3 tables with 20502 rows compared"), "\(said)")
      let uri = try exzo(["connection-string", "--database", "app"])
        .trimmingCharacters(in: .whitespacesAndNewlines)
      // It was looked at whole, and is as strict as before.
      #expect(try platform.psql(uri, "SELECT count(*) FROM hidden").output == "1\n")
      let found = try platform.psql(
        uri, #"SELECT sum(x)::text, max(id) FROM "Größe"."quo""te""#
      ).output.trimmingCharacters(in: .newlines)
      #expect(try found == server.psql(#"SELECT sum(x)::text, max(id) FROM "Größe"."quo""te""#))
      // What is there is never written over, and a wrong source is told of.
      #expect(
        try exzo(["import", source, "--database", "app"], status: 1).contains("it is not empty"))
      #expect(
        try exzo(["import", "postgresql://u@h/d?service=x"], status: 2).contains("'service'"))
      let left = try FileManager.default.contentsOfDirectory(atPath: platform.directory)
      #expect(!left.contains { $0.hasPrefix("exzo-import") })
    }
  }

  @Test func rolesAndTheirPasswordsAreManagedByTheCommandLine() async throws {
    try await withPlatform { platform in
      let created = try platform.call("POST", "/projects", #"{"project":{"name":"roles"}}"#)
      try await platform.settle(created.string("project.id"))
      func exzo(_ arguments: [String], status: Int32 = 0) throws -> String {
        try platform.exzo(arguments, status: status).output
      }
      _ = try exzo(["roles", "create", "reader"])
      #expect(try exzo(["roles"]).contains("reader"))
      let first = try exzo(["roles", "password", "reader"])
      _ = try exzo(["roles", "reset-password", "reader"])
      #expect(try exzo(["roles", "password", "reader"]) != first)
      _ = try exzo(["databases", "create", "mine", "--owner", "reader"])
      _ = try exzo(["databases", "update", "mine", "--new-name", "ours"])
      #expect(try exzo(["databases"]).contains("ours"))
      _ = try exzo(["databases", "delete", "ours"])
      _ = try exzo(["roles", "delete", "reader"])
      #expect(try !exzo(["roles"]).contains("reader"))
      _ = try exzo(["roles", "delete", "nobody"], status: 1)
    }
  }
}
