import ControlPlane
import Foundation
import TestSupport
import Testing

@testable import Dumps

/// Values come back as they were, whatever databases and roles are set to.
extension RecoveryTests {
  /// Statements in ASCII: the database's own encoding of clients is one of them.
  private func set(_ settings: String...) -> String {
    settings.map {
      "DO $do$ BEGIN EXECUTE format('ALTER DATABASE %I %s', current_database(), $set$\($0)$set$); END $do$;"
    }.joined(separator: "\n")
  }

  @Test func valuesComeBackAsTheyWereUnderAnySettings() async throws {
    let then = """
      CREATE TABLE shown (id int);
      CREATE TABLE every (id int PRIMARY KEY, f float8, f4 float4, d date, i interval, m money,
        t text, c regclass, b bytea, a text[]);
      INSERT INTO every SELECT n, pi() * n, (pi() * n)::float4, date '2026-01-01' + n,
        '-1 day +02:03:04'::interval * n, 1234.56::money, 'é' || n, 'public.shown'::regclass,
        decode('00ff5c', 'hex'), ARRAY['NULL', NULL, 'x'] FROM generate_series(1, 20) AS n;
      CREATE TABLE every_copy AS TABLE every; ALTER TABLE every OWNER TO app;
      CREATE FUNCTION is_low(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 < 10';
      \(set(
        "SET extra_float_digits = 0", "SET datestyle = 'SQL, DMY'", "SET bytea_output = 'escape'",
        "SET intervalstyle = 'sql_standard'", "SET client_encoding = latin1"))
      """
    let accident = """
      DELETE FROM every WHERE id < 10;
      \(set(
        "RESET datestyle", "SET array_nulls = off", "SET standard_conforming_strings = off",
        "SET idle_session_timeout = '30ms'", "SET search_path = \"odd schema\"",
        "SET default_transaction_read_only = on"))
      """
    try await with(accident, after: then) { scene, past in
      let notes = try await scene.recover(order("every", where: "is_low(id)"), from: past)
      #expect(
        notes.contains("9 of 9 rows that met the condition were missing and came back"), "\(notes)")
      _ = try await scene.recover(order("every", as: "every_then"), from: past)
      for table in ["every", "every_then"] {
        #expect(
          try scene.psql(
            """
            SELECT count(*) FROM public.\(table) AS e JOIN public.every_copy AS c USING (id)
            WHERE ROW(e.*) IS NOT DISTINCT FROM ROW(c.*)
            """) == "20")
      }
      #expect(try scene.restoreRoles == "0")
    }
  }

  /// In encodings other than UTF-8, and in one that knows nothing of its bytes.
  @Test(arguments: ["LATIN1", "SQL_ASCII"]) func textComesBackInItsEncoding(
    _ encoding: String
  ) async throws {
    let isPlain = encoding == "SQL_ASCII"
    let (table, text) = isPlain ? ("plain", #"E'\xe9'"#) : (#"U&"t\00C4""#, #"U&'\00e9'"#)
    try await with("SELECT 1") { scene in
      try scene.server.psql(
        """
        CREATE DATABASE other ENCODING '\(encoding)' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'
        OWNER app
        """)
      try scene.psql("CREATE TABLE \(table) (id int PRIMARY KEY, v text)", "other")
      try scene.psql("INSERT INTO \(table) VALUES (1, \(text)), (2, 'x')", "other")
      try scene.psql("ALTER TABLE \(table) OWNER TO app", "other")
    } _: { scene, past in
      try scene.psql("DELETE FROM \(table) WHERE id = 1", "other")
      let name = isPlain ? "plain" : "\"tÄ\""
      _ = try await scene.recover(order(name, where: "id < 9", in: "other"), from: past)
      _ = try await scene.recover(order(name, as: "then", in: "other"), from: past)
      for each in [table, "\"then\""] {
        #expect(
          try scene.psql(
            "SELECT encode(convert_to(v, '\(encoding)'), 'hex') FROM \(each) WHERE id = 1", "other")
            == "e9")
      }
    }
  }

  @Test func rowSecurityKeepsNothingBack() async throws {
    let tables = """
      CREATE TABLE guarded (id int PRIMARY KEY, v text);
      INSERT INTO guarded SELECT n, n FROM generate_series(1, 10) AS n;
      ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
      CREATE POLICY one ON guarded USING (v = '5'); ALTER TABLE guarded OWNER TO app;
      """
    try await with("DELETE FROM guarded", after: tables) { scene, past in
      _ = try await scene.recover(order("guarded", where: "id < 8"), from: past)
      _ = try await scene.recover(order("guarded", as: "guarded_then"), from: past)
      #expect(try scene.psql("SELECT count(*) FROM guarded") == "7")
      #expect(try scene.psql("SELECT count(*) FROM guarded_then") == "10")
      #expect(
        try scene.psql("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'guarded_then'")
          == "t")
    }
  }

  @Test func rowsWithoutColumnsAreRowsToo() async throws {
    let tables = """
      CREATE TABLE bare (); INSERT INTO bare DEFAULT VALUES; INSERT INTO bare DEFAULT VALUES;
      CREATE TABLE made (x int GENERATED ALWAYS AS (7) STORED);
      INSERT INTO made DEFAULT VALUES; ALTER TABLE bare OWNER TO app; ALTER TABLE made OWNER TO app;
      """
    try await with("SELECT 1", after: tables) { scene, past in
      for (table, rows) in [("bare", "2"), ("made", "1")] {
        let notes = try await scene.recover(order(table, as: "\(table)_then"), from: past)
        #expect(notes.first == "\(rows) rows are in 'public.\(table)_then'")
        #expect(try scene.psql("SELECT count(*) FROM \(table)_then") == rows)
      }
      #expect(try scene.psql("SELECT x FROM made_then") == "7")
    }
  }
}
