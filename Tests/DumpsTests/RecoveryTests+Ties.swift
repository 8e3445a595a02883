import ControlPlane
import TestSupport
import Testing

@testable import Dumps

/// What hangs on a table that comes back.
extension RecoveryTests {
  private static let family = """
    CREATE TABLE beings (id int PRIMARY KEY, name text);
    CREATE TABLE cats (lives int) INHERITS (beings); CREATE TABLE kittens () INHERITS (cats);
    INSERT INTO beings VALUES (1, 'a'), (2, 'b'); INSERT INTO cats VALUES (3, 'c', 9);
    INSERT INTO kittens VALUES (4, 'd', 9);
    CREATE TABLE plants (id int); CREATE TABLE trees (height int) INHERITS (plants);
    INSERT INTO trees VALUES (1, 9);
    ALTER TABLE beings OWNER TO app; ALTER TABLE cats OWNER TO app; ALTER TABLE kittens OWNER TO app;
    ALTER TABLE plants OWNER TO app; ALTER TABLE trees OWNER TO app;
    """

  @Test func tablesThatInheritAreNamedAndNoRowIsSeenTwice() async throws {
    try await with("DELETE FROM ONLY beings; DELETE FROM kittens", after: Self.family) {
      scene, past in
      // The children's rows are not the parent's.
      let rows = try await scene.recover(order("beings", where: "true"), from: past)
      #expect(
        rows.contains("2 of 2 rows that met the condition were missing and came back"), "\(rows)")
      #expect(rows.contains { $0.hasPrefix("no rows of 'public.kittens' came back") }, "\(rows)")
      #expect(try scene.psql("SELECT string_agg(id::text, ',' ORDER BY id) FROM beings") == "1,2,3")
      let notes = try await scene.recover(order("beings", as: "beings_then"), from: past)
      #expect(notes.first == "2 rows are in 'public.beings_then'", "\(notes)")
      for table in ["public.cats", "public.kittens"] {
        #expect(
          notes.contains { $0.contains("not restored: table '\(table)' and its rows") }, "\(notes)")
      }
      let child = try await scene.recover(order("trees", as: "trees_then"), from: past)
      #expect(child.contains { $0.contains("inherits from 'public.plants'") }, "\(child)")
      #expect(try scene.psql("SELECT count(*) FROM trees_then") == "1")
      #expect(try scene.psql("SELECT count(*) FROM plants") == "1")
    }
  }

  @Test func viewsThatWentWithATableAreNamed() async throws {
    let tables = """
      CREATE TABLE base (id int PRIMARY KEY); INSERT INTO base VALUES (1);
      CREATE VIEW seen AS SELECT * FROM base; CREATE MATERIALIZED VIEW summed AS SELECT * FROM seen;
      ALTER TABLE base OWNER TO app; ALTER VIEW seen OWNER TO app;
      ALTER MATERIALIZED VIEW summed OWNER TO app;
      """
    try await with("DROP MATERIALIZED VIEW summed", after: tables) { scene, past in
      let beside = try await scene.recover(order("base", as: "base_then"), from: past)
      #expect(beside.filter { $0.contains("view") }.count == 1, "\(beside)")
      #expect(beside.contains { $0.contains("'public.summed'") }, "\(beside)")
    }
    try await with("DROP TABLE base CASCADE", after: tables) { scene, past in
      let notes = try await scene.recover(order("base"), from: past)
      for view in ["view 'public.seen'", "materialized view 'public.summed'"] {
        #expect(notes.contains { $0.hasPrefix("not restored: \(view)") }, "\(notes)")
      }
      #expect(try scene.psql("SELECT count(*) FROM base") == "1")
    }
  }

  @Test func aPartitionComesBackIntoItsTableOrBesideIt() async throws {
    let tables = """
      CREATE TABLE days (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
      CREATE INDEX ON days (n);
      CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10);
      CREATE UNLOGGED TABLE days_2 PARTITION OF days FOR VALUES FROM (10) TO (20);
      CREATE TABLE days_3 PARTITION OF days FOR VALUES FROM (20) TO (30);
      INSERT INTO days SELECT n, n FROM generate_series(0, 29) AS n;
      CREATE STATISTICS days_both ON id, n FROM days_1; ALTER STATISTICS days_both SET STATISTICS 77;
      ALTER STATISTICS days_both OWNER TO app; CREATE PUBLICATION told FOR TABLE days_1;
      ALTER TABLE days OWNER TO app; ALTER TABLE days_1 OWNER TO app; ALTER TABLE days_2 OWNER TO app;
      ALTER TABLE days_3 OWNER TO app;
      """
    try await with("DROP TABLE days_1", after: tables) { scene, past in
      let beside = try await scene.recover(
        order("days_3", as: "days_then"), from: past)
      #expect(
        beside.contains {
          $0.contains(
            "'public.days_3' is a partition of 'public.days' (FOR VALUES FROM (20) TO (30))")
        }, "\(beside)")
      let back = try await scene.recover(order("days_1"), from: past)
      #expect(back.contains { $0.contains("publication 'told' holds 'public.days_1'") }, "\(back)")
      #expect(try scene.psql("SELECT count(*) FROM days") == "30")
      #expect(
        try scene.psql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'days_n_idx'::regclass")
          == "3")
      #expect(
        try scene.psql(
          "SELECT stxowner::regrole, stxstattarget FROM pg_statistic_ext WHERE stxrelid = 'days_1'::regclass"
        )
          == "app|77")
      let whole = try await scene.recover(
        order("days", as: "days_whole"), from: past)
      #expect(
        whole.contains { $0.contains("no rows of 'public.days_2' came back: it is unlogged") },
        "\(whole)")
      #expect(try scene.psql("SELECT count(*) FROM days") == "30")
      // Statistics of that name are there: the new ones are called after the new table.
      #expect(
        try scene.psql("SELECT count(*) FROM pg_statistic_ext WHERE stxname LIKE 'days%both'")
          == "2")
      let quick = try await scene.recover(
        order("quick", as: "quick_then"), from: past)
      #expect(
        quick.contains { $0.contains("'public.quick' came back: it is unlogged") }, "\(quick)")
    }
  }
}
