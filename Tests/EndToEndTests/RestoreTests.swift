import Foundation
import TestSupport
import Testing

/// Restore in place, snapshots and reading the past, through the front door.
@Suite(.serialized, .heavy) struct RestoreTests {
  @Test func aBranchIsRestoredInPlaceAndItsFormerStateKept() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "undo")
      try platform.psql(scene.uri, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
      let before = try await scene.now()
      try platform.psql(scene.uri, "DELETE FROM t; CREATE TABLE later (n int)")
      let child = try await scene.post(
        "/branches", #"{"branch":{"name":"dev"},"endpoints":[{"type":"read_write"}]}"#, status: 201)
      let childURI = child.string("connection_uris.0.connection_uri")
      let clock = ContinuousClock.now
      let answer = try await scene.post(
        "/branches/\(scene.main)/restore",
        #"""
        {"source_branch_id":"\#(scene.main)","source_timestamp":"\#(before)",
        "preserve_under_name":"main-old"}
        """#)
      #expect(answer.string("branch.id") == scene.main)
      // The same connection string, the data of then.
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM t") == "1000")
      print("restore in place: \(ContinuousClock.now - clock)")
      #expect(
        try platform.psql(scene.uri, "SELECT 1 FROM later", allowFailure: true).status != 0)
      try platform.psql(scene.uri, "INSERT INTO t VALUES (0)")
      // The former state, under its name.
      let list = try platform.call(
        "GET", "/projects/\(scene.project)/branches?search=main-old")
      let old = list.string("branches.0.id")
      let opened = try await scene.post(
        "/endpoints", #"{"endpoint":{"branch_id":"\#(old)","type":"read_write"}}"#, status: 201)
      #expect(opened.string("endpoint.branch_id") == old)
      let oldURI = try platform.call(
        "GET",
        "/projects/\(scene.project)/connection_uri?branch_id=\(old)&database_name=exzodb"
          + "&role_name=exzodb_owner"
      ).string("uri")
      #expect(try scene.rows(oldURI, "SELECT count(*) FROM t") == "0")
      #expect(try scene.rows(oldURI, "SELECT count(*) FROM later") == "0")
      // The child has its data, and keeps them when the former state goes.
      #expect(try scene.rows(childURI, "SELECT count(*) FROM t") == "0")
      let gone = try platform.call("DELETE", "/projects/\(scene.project)/branches/\(old)")
      #expect(gone.status == 200, "\(gone.text)")
      try await platform.settle(scene.project)
      #expect(try scene.rows(childURI, "SELECT count(*) FROM t") == "0")
      let dev = child.string("branch.id")
      let shown = try platform.call("GET", "/projects/\(scene.project)/branches/\(dev)")
      #expect(shown.string("branch.parent_id") == scene.main)
      // Reset from the parent: the child takes what the parent has now.
      _ = try await scene.post(
        "/branches/\(dev)/restore", #"{"source_branch_id":"\#(scene.main)"}"#)
      #expect(try scene.rows(childURI, "SELECT count(*) FROM t") == "1001")
      // A moment before the restore is still there, on the branch itself.
      let past = try await scene.post(
        "/branches",
        #"""
        {"branch":{"parent_timestamp":"\#(before)"},"endpoints":[{"type":"read_write"}]}
        """#, status: 201)
      #expect(
        try scene.rows(past.string("connection_uris.0.connection_uri"), "SELECT count(*) FROM t")
          == "1000")
    }
  }

  @Test func aSnapshotTakesTheBranchsPlaceAndDeletedBranchesComeBack() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "keep")
      try platform.psql(scene.uri, "CREATE TABLE t AS SELECT generate_series(1, 10) AS id")
      let made = try await scene.post("/branches/\(scene.main)/snapshot?name=first")
      let snapshot = made.string("snapshot.id")
      try platform.psql(scene.uri, "TRUNCATE t")
      let look = try await scene.post("/snapshots/\(snapshot)/restore", #"{"name":"look"}"#)
      #expect(look.string("branch.restored_from") == snapshot)
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM t") == "0")
      let restored = try await scene.post(
        "/snapshots/\(snapshot)/restore", #"{"finalize_restore":true}"#)
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM t") == "10")
      try platform.psql(scene.uri, "INSERT INTO t VALUES (11)")
      let branch = restored.string("branch.id")
      // Deleted with its volume, and back with all that was committed.
      _ = try await scene.post("/branches/\(look.string("branch.id"))/set_as_default")
      let gone = try platform.call("DELETE", "/projects/\(scene.project)/branches/\(branch)")
      #expect(gone.status == 200, "\(gone.text)")
      try await platform.settle(scene.project)
      #expect(try platform.psql(scene.uri, "SELECT 1", allowFailure: true).status != 0)
      let back = try await scene.post("/branches/\(branch)/recover")
      #expect(!back.string("endpoints.0.id").isEmpty, "\(back.text)")
      #expect(try scene.rows(scene.uri, "SELECT count(*) FROM t") == "11")
    }
  }

  @Test func thePastIsReadAndCannotBeWritten() async throws {
    try await withPlatform { platform in
      let scene = try await Scene(platform, name: "past")
      try platform.psql(
        scene.uri,
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100);"
          + "CREATE SEQUENCE s; SELECT lo_create(4711)")
      let before = try await scene.now()
      try platform.psql(scene.uri, "DROP TABLE t; CREATE TABLE u (n int)")
      let uri = try platform.call(
        "GET",
        "/projects/\(scene.project)/connection_uri?branch_id=\(scene.main)&database_name=exzodb"
          + "&role_name=exzodb_owner&timestamp=\(before)"
      ).string("uri")
      #expect(try scene.rows(uri, "SELECT count(*) FROM t") == "100")
      let attempts = [
        "INSERT INTO t VALUES (0)", "DELETE FROM t", "UPDATE t SET id = 0 WHERE id = 1",
        "SET default_transaction_read_only = off; INSERT INTO t VALUES (0)",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; INSERT INTO t VALUES (0)",
        "BEGIN READ WRITE; INSERT INTO t VALUES (0)",
        "BEGIN; SET transaction_read_only = off; INSERT INTO t VALUES (0)",
        "SELECT set_config('transaction_read_only', 'off', false); INSERT INTO t VALUES (0)",
        "SELECT nextval('s')", "SELECT setval('s', 5)", "SELECT lo_create(0)",
        "SELECT lo_unlink(4711)", "CREATE TEMP TABLE x (n int)", "CREATE TABLE x (n int)",
        "SELECT 1 INTO TEMP x", "COPY t FROM PROGRAM 'echo 0'", "COPY t TO PROGRAM 'cat'",
        "COPY t TO '/tmp/exzo-past'", "SELECT pg_promote()", "SELECT pg_wal_replay_resume()",
        "SELECT pg_reload_conf()", "ALTER SYSTEM SET work_mem = '1MB'", "CHECKPOINT",
        "PREPARE TRANSACTION 'x'", "LISTEN x", "NOTIFY x", "VACUUM t", "ANALYZE t",
        "LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "SELECT * FROM t FOR UPDATE",
        "SET ROLE exzo_superuser", "ALTER ROLE exzodb_owner PASSWORD 'x'",
        "SELECT pg_read_file('PG_VERSION')", "SELECT txid_current()",
        "DO $$ BEGIN EXECUTE 'INSERT INTO t VALUES (0)'; END $$",
      ]
      for attempt in attempts {
        let outcome = try platform.psql(uri, attempt, allowFailure: true)
        #expect(outcome.status != 0, "\(attempt): \(outcome.output)")
      }
      #expect(try scene.rows(uri, "SELECT count(*) FROM t") == "100")
      #expect(try scene.rows(uri, "SHOW transaction_read_only") == "on")
      // A password that is wrong today opens nothing; a moment outside says why.
      let wrong = uri.replacing("exzodb_owner:", with: "exzodb_owner:x")
      #expect(try platform.psql(wrong, "SELECT 1", allowFailure: true).status != 0)
      let never = uri.replacing(before.prefix(4), with: "2001")
      let refused = try platform.psql(never, "SELECT 1", allowFailure: true)
      #expect(
        refused.errorOutput.contains("outside what can be restored"), "\(refused.errorOutput)")

      let schema = try platform.call(
        "GET",
        "/projects/\(scene.project)/branches/\(scene.main)/schema?db_name=exzodb&timestamp=\(before)"
      )
      #expect(schema.string("sql").contains("CREATE TABLE public.t"), "\(schema.text)")
      let tables = try platform.call(
        "GET",
        "/projects/\(scene.project)/branches/\(scene.main)/schema?db_name=exzodb&format=json"
          + "&timestamp=\(before)")
      #expect(tables.string("json.tables.0.constraints.0.type") == "PRIMARY KEY", "\(tables.text)")
      let diff = try platform.call(
        "GET",
        "/projects/\(scene.project)/branches/\(scene.main)/compare_schema?db_name=exzodb"
          + "&base_timestamp=\(before)")
      #expect(diff.string("diff").contains("-CREATE TABLE public.t"), "\(diff.text)")
      #expect(diff.string("diff").contains("+CREATE TABLE public.u"), "\(diff.text)")
      let twin = try await scene.post(
        "/branches",
        #"""
        {"branch":{"name":"twin","init_source":"schema-only","parent_timestamp":"\#(before)"},
        "endpoints":[{"type":"read_write"}]}
        """#, status: 201)
      #expect(
        try scene.rows(twin.string("connection_uris.0.connection_uri"), "SELECT count(*) FROM t")
          == "0")
    }
  }
}
