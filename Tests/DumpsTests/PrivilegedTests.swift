import APITypes
import ControlPlane
import Foundation
import TestSupport
import Testing

@testable import Dumps

/// Databases that hold what only a superuser can make: it is left out by name, the rest is whole.
@Suite(.serialized, .heavy, .needsPostgres()) struct PrivilegedTests {
  private static let privileged = """
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'int4inc';
    CREATE VIEW counted AS SELECT twice(count(*)::int) AS n FROM customers;
    CREATE VIEW above AS SELECT n FROM counted;
    CREATE INDEX customers_twice ON customers (twice(id));
    CREATE TYPE odd;
    CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
    CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
    CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, INTERNALLENGTH = 4, PASSEDBYVALUE);
    CREATE TABLE odds (id serial PRIMARY KEY, o odd);
    INSERT INTO odds (o) VALUES ('1'), ('2');
    COMMENT ON TABLE odds IS 'goes with it'; GRANT SELECT ON odds TO reader;
    CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER never ON ddl_command_end EXECUTE FUNCTION noted();
    CREATE PUBLICATION everything FOR ALL TABLES;
    CREATE EXTENSION pageinspect; CREATE EXTENSION hstore;
    CREATE TABLE pairs (h hstore); INSERT INTO pairs VALUES ('a=>1');
    CREATE VIEW pages AS SELECT get_raw_page('customers', 0) AS page;
    CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
    CREATE USER MAPPING FOR reader SERVER far OPTIONS (user 'x', password 'y');
    CREATE FOREIGN TABLE afar (id int) SERVER far;
    """

  @Test(arguments: [API.DumpFormat.custom, .directory])
  func whatOnlySuperusersMakeIsLeftOutByName(_ format: API.DumpFormat) async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 50)
      try scene.psql(Self.privileged)
      _ = try await scene.make("d", format)
      let source = try await scene.tools.contents(of: Scene.database, on: scene.compute)
      let notes = try await scene.restore("d", into: "copy")
      let restored = try await scene.tools.contents(of: "copy", on: scene.compute)
      let result = ContentsComparison(source: source, restored: restored)
        .verification(at: Date(), notes: notes)
      // `varchar IN (…)` reads differently once it was loaded anew; see RoundTripTests.
      #expect(result.differences.filter { !$0.contains("orders_state_check") } == [])
      #expect(Set(result.notes).count == result.notes.count, "\(result.notes)")
      #expect(source.tables["\"public\".\"odds\""] == nil)
      #expect(restored.tables["\"public\".\"pairs\""]?.rows == 1)
      for (name, reason) in [
        ("event trigger 'never'", "only a superuser"), ("table 'public.odds'", "it needs type"),
        ("type 'public.odd'", "only a superuser"), ("view 'public.counted'", "it needs function"),
        ("view 'public.above'", "it needs view"), ("index 'public.customers_twice'", "it needs"),
        ("extension 'pageinspect'", "only a superuser"), ("view 'public.pages'", "it needs ext"),
        ("publication 'everything'", "only a superuser"), ("server 'far'", "it needs extension"),
        ("user mapping 'USER MAPPING reader SERVER far'", "it needs server 'far'"),
        ("foreign table 'public.afar'", "it needs server"),
        ("function 'public.twice(integer)'", "only a superuser can make it in language internal"),
      ] {
        #expect(
          notes.contains { $0.contains("left out: \(name): \(reason)") }, "\(name): \(notes)")
        #expect(source.notes.contains { $0.contains("left out: \(name)") }, "\(source.notes)")
      }
      #expect(!notes.contains { $0.contains("hstore") || $0.contains("table data") }, "\(notes)")
      // Asked for by name, it is refused with the reason; what is beside it comes.
      await #expect(throws: DumpError.self) {
        _ = try await scene.restore("d", into: "some", tables: ["odds"])
      }
      let some = try await scene.restore("d", into: "some more", tables: ["customers"])
      #expect(some.contains { $0.contains("left out: index 'customers_twice'") }, "\(some)")
      #expect(try scene.psql("SELECT count(*) FROM customers", "some more") == "50")
      #expect(try scene.restoreRoles == "0")
    }
  }

  @Test func plainSQLSaysWhichFormatCan() async throws {
    try await Scene.with { scene in
      try scene.server.psql("CREATE ROLE app; CREATE ROLE reader")
      try scene.server.psql("CREATE DATABASE \(scene.quoted(Scene.database)) OWNER app")
      try scene.psql(
        """
        CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER never ON ddl_command_end EXECUTE FUNCTION noted();
        """)
      _ = try await scene.make("d", .plain)
      let error = await #expect(throws: DumpError.self) {
        _ = try await scene.restore("d", into: "copy")
      }
      #expect(error?.hint?.contains("'custom'") == true, "\(String(describing: error))")
    }
  }
}
