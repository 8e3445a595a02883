import ControlPlane
import TestSupport
import Testing

@testable import Dumps

/// Rows that come back into a table that is there.
extension RecoveryTests {
  @Test func rowsOfATableWithoutARealKeyAreNotDoubled() async throws {
    let tables = """
      CREATE TABLE partial (id int NOT NULL, live bool); CREATE UNIQUE INDEX ON partial (id) WHERE live;
      CREATE TABLE nullable (id int UNIQUE, t text);
      CREATE TABLE expressed (id int NOT NULL); CREATE UNIQUE INDEX ON expressed (abs(id));
      CREATE TABLE deferred (id int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED);
      INSERT INTO partial VALUES (1, false), (1, false), (2, true);
      INSERT INTO nullable VALUES (NULL, 'a'), (NULL, 'b'), (1, 'c');
      INSERT INTO expressed VALUES (1), (2), (3); INSERT INTO deferred VALUES (1), (2), (3);
      CREATE TABLE later (id int NOT NULL); INSERT INTO later VALUES (1), (2), (3);
      ALTER TABLE partial OWNER TO app; ALTER TABLE nullable OWNER TO app;
      ALTER TABLE expressed OWNER TO app; ALTER TABLE deferred OWNER TO app;
      ALTER TABLE later OWNER TO app;
      """
    try await with("ALTER TABLE later ADD PRIMARY KEY (id)", after: tables) { scene, past in
      let reasons = [
        "partial": "'partial_id_idx' is partial",
        "nullable": "'nullable_id_key' has a column that may be NULL",
        "expressed": "'expressed_abs_idx' is on an expression",
        "deferred": "'deferred_id_key' is deferrable", "later": "no key at the moment",
        "items": "no unique index",
      ]
      for (table, reason) in reasons {
        let before = try scene.psql("SELECT count(*) FROM \(table)")
        let error = await #expect(throws: DumpError.self) {
          try await scene.recover(order(table, where: "true"), from: past)
        }
        #expect(error?.message.contains(reason) == true, "\(table): \(error?.message ?? "")")
        #expect(try scene.psql("SELECT count(*) FROM \(table)") == before)
        _ = try await scene.recover(
          order(table, as: "\(table)_then", where: "true"), from: past)
        #expect(try scene.psql("SELECT count(*) FROM \(table)_then") == before)
      }
    }
  }

  @Test func rowsThatAnotherConstraintKeepsOutAreCountedAndNamed() async throws {
    let tables = """
      CREATE TABLE teams (id int PRIMARY KEY);
      CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE, boss int REFERENCES people,
        team int REFERENCES teams DEFERRABLE INITIALLY DEFERRED, room int UNIQUE DEFERRABLE);
      INSERT INTO teams VALUES (1), (2);
      INSERT INTO people SELECT n, 'p' || n, nullif(n, 20) + 1 - n / 20, CASE WHEN n = 12 THEN 2 ELSE 1 END, n
        FROM generate_series(20, 1, -1) AS n;
      ALTER TABLE people OWNER TO app; ALTER TABLE teams OWNER TO app;
      """
    let accident = """
      DELETE FROM people; DELETE FROM teams WHERE id = 2;
      INSERT INTO people SELECT 100 + n, 'p' || n, NULL, 1, 100 + n FROM generate_series(1, 7) AS n;
      INSERT INTO people VALUES (200, 'new', NULL, 1, 20);
      """
    try await with(accident, after: tables) { scene, past in
      // Everyone's boss is the next number: 20 is kept out by its room, and with it nobody could come.
      let notes = try await scene.recover(
        order("people", where: "id <= 7 OR id = 12 OR id >= 15"), from: past)
      #expect(
        notes.contains("0 of 14 rows that met the condition were missing and came back"), "\(notes)"
      )
      #expect(
        notes.contains(
          "1 rows are missing still, kept out by unique index 'people_room_key': (id) = (20)"),
        "\(notes)")
      #expect(
        notes.contains(
          "7 rows are missing still, kept out by unique index 'people_email_key': "
            + "(id) = (7), (6), (5), (4), (3), ..."), "\(notes)")
      #expect(
        notes.contains { $0.contains("'people_boss_fkey': (id) = (19), (18), (17), (16), (15)") },
        "\(notes)")
      try scene.psql("DELETE FROM people WHERE id = 200")
      let again = try await scene.recover(
        order("people", where: "true"), from: past)
      // 12 belongs to a team that is gone; who reports to it, and on, cannot come either.
      #expect(
        again.contains("8 of 20 rows that met the condition were missing and came back"), "\(again)"
      )
      #expect(
        again.contains { $0.contains("foreign key 'people_team_fkey': (id) = (12)") }, "\(again)")
      #expect(
        try scene.psql("SELECT string_agg(id::text, ',' ORDER BY id) FROM people WHERE id < 100")
          == "13,14,15,16,17,18,19,20")
      #expect(try scene.restoreRoles == "0")
    }
  }

  @Test func triggersDoNotChangeRowsThatComeBack() async throws {
    let tables = """
      CREATE TABLE seen (id int);
      CREATE TABLE notes (id int PRIMARY KEY, body text, made timestamptz) PARTITION BY RANGE (id);
      CREATE TABLE notes_low PARTITION OF notes FOR VALUES FROM (0) TO (100);
      INSERT INTO notes SELECT n, 'then ' || n, '2020-01-01 UTC' FROM generate_series(1, 9) AS n;
      CREATE FUNCTION retouch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.body := 'changed'; INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END $$;
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''refused''; END';
      CREATE TRIGGER retouched BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION retouch();
      CREATE TRIGGER refused BEFORE INSERT ON notes FOR EACH STATEMENT WHEN (current_user LIKE 'exzo%')
        EXECUTE FUNCTION refuse();
      CREATE TRIGGER always AFTER INSERT ON notes_low FOR EACH ROW EXECUTE FUNCTION retouch();
      ALTER TABLE notes_low ENABLE ALWAYS TRIGGER always;
      CREATE TRIGGER off BEFORE INSERT ON notes_low FOR EACH ROW EXECUTE FUNCTION refuse();
      ALTER TABLE notes_low DISABLE TRIGGER off;
      ALTER TABLE notes OWNER TO app; ALTER TABLE notes_low OWNER TO app;
      """
    let states = """
      SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgname, tgenabled), ', ' ORDER BY oid) FROM pg_trigger
      WHERE NOT tgisinternal
      """
    try await with("DELETE FROM notes WHERE id > 3", after: tables) { scene, past in
      let before = try scene.psql(states)
      let notes = try await scene.recover(
        order("notes", where: "id < 9"), from: past)
      #expect(
        notes.contains("5 of 8 rows that met the condition were missing and came back"), "\(notes)")
      #expect(notes.contains { $0.contains("trigger 'retouched' did not fire") }, "\(notes)")
      #expect(
        try scene.psql(
          "SELECT count(*) FROM notes WHERE body = 'then ' || id AND made = '2020-01-01 UTC'")
          == "8")
      #expect(try scene.psql("SELECT count(*) FROM seen") == "0")
      #expect(try scene.psql(states) == before)
      try scene.psql("INSERT INTO notes VALUES (50)")
      #expect(try scene.psql("SELECT count(*) FROM seen") == "2")
    }
  }

  @Test func sequencesThatWouldMeetRowsThatCameBackAreNamed() async throws {
    let tables = """
      CREATE TABLE numbered (id serial PRIMARY KEY, other int GENERATED ALWAYS AS IDENTITY, code text DEFAULT 'x');
      INSERT INTO numbered (code) SELECT 'n' || n FROM generate_series(1, 20) AS n;
      CREATE SEQUENCE codes OWNED BY numbered.code; ALTER TABLE numbered OWNER TO app;
      """
    let accident = """
      TRUNCATE numbered RESTART IDENTITY; SELECT setval('numbered_other_seq', 20);
      """
    try await with(accident, after: tables) { scene, past in
      let notes = try await scene.recover(order("numbered", where: "id <= 15"), from: past)
      let said = notes.filter { $0.hasPrefix("sequence") }
      #expect(
        said == [
          "sequence 'public.numbered_id_seq' was not moved: it gives column 'id' values from 1 on, and rows that "
            + #"came back have up to 15: SELECT setval('"public"."numbered_id_seq"', 15)"#
        ], "\(notes)")
      try scene.psql(#"SELECT setval('"public"."numbered_id_seq"', 15)"#)
      try scene.psql("INSERT INTO numbered DEFAULT VALUES")
      let again = try await scene.recover(order("numbered", where: "true"), from: past)
      #expect(
        again.contains { $0.hasPrefix("sequence 'public.numbered_id_seq'") && $0.hasSuffix("20)") },
        "\(again)")
    }
  }
}
