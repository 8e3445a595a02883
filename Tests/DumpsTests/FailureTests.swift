import APITypes
import ControlPlane
import Foundation
import Logging
import ObjectStorage
import Synchronization
import TestSupport
import Testing

@testable import Dumps

@Suite(.serialized, .heavy, .needsPostgres()) struct FailureTests {
  @Test func aStoreThatFailsAnywhereLeavesNothing() async throws {
    try await Scene.with { scene in
      try scene.fill()
      var failed = 0
      for format in [API.DumpFormat.custom, .directory] {
        for call in 1... {
          let base = scene.store.calls.count
          scene.store.setRule { $0.number == base + call ? .before : nil }
          do {
            _ = try await scene.make("d", format)
            break
          } catch let error as DumpError {
            #expect(error.isTemporary, "\(error)")
            failed += 1
          }
          scene.store.setRule(nil)
          #expect(try await scene.objects == [], "\(format), call \(call)")
          #expect(try scene.leftovers == [])
          try #require(call < 50)
        }
        scene.store.setRule(nil)
        try await scene.tools.remove(dump: "d", project: "p")
      }
      #expect(failed >= 6)
      #expect(try await scene.objects == [])
    }
  }

  /// A second store knows objects by name and size: no name may ever stand for other bytes.
  @Test func attemptsShareNoPacksAndAWholeDumpIsNotMadeAgain() async throws {
    try await Scene.with { scene in
      try scene.fill()
      func names(_ operation: FaultyObjectStore.Operation, from call: Int) -> Set<String> {
        Set(scene.store.calls.dropFirst(call).filter { $0.operation == operation }.map(\.key))
      }
      scene.store.setRule {
        $0.operation == .put && $0.key.hasSuffix("/manifest") ? .before : nil
      }
      await #expect(throws: DumpError.self) { _ = try await scene.make("d") }
      let first = names(.put, from: 0)
      scene.store.setRule(nil)
      var calls = scene.store.calls.count
      let stored = try await scene.make("d")
      let second = names(.put, from: calls)
      #expect(first.intersection(second) == [StoredManifest.key("d").name])
      #expect(first.count > 1 && second.count > 1)
      // As after a kill of which nobody knows that the dump had come to its end.
      calls = scene.store.calls.count
      #expect(try await scene.make("d") == stored)
      #expect(names(.put, from: calls).union(names(.delete, from: calls)) == [])
      // One that is damaged is none.
      let key = try await scene.tools.manifest("d", scene.store).key(ofPack: 0, "d")
      var pack = try await scene.store.get(key, range: nil)
      pack[pack.count / 2] ^= 1
      try await scene.store.put(key, .bytes(pack))
      _ = try await scene.make("d")
      let proof = try await scene.tools.check(dump: "d", project: "p", bytesPerSecond: .max)
      #expect(proof.problems == [])
    }
  }

  @Test func aDumpEndsWhenItIsNotWantedAnyMore() async throws {
    struct Unwanted: Error {}
    try await Scene.with { scene in
      try scene.fill()
      for format in [API.DumpFormat.custom, .directory] {
        let reports = Mutex(0)
        await #expect(throws: Unwanted.self) {
          _ = try await scene.tools.make(
            DumpOrder(id: "d", project: "p", database: Scene.database, format: format, jobs: 1),
            from: scene.compute
          ) { _ in
            if reports.withLock({
              $0 += 1
              return $0
            }) == 2 {
              throw Unwanted()
            }
          }
        }
        #expect(try await scene.objects == [])
        #expect(try scene.leftovers == [])
      }
    }
  }

  /// A dump larger than the disk of its spool passes through it, or fails and leaves nothing.
  @Test(.needsRoot) func theSpoolIsBoundedAndAFullDiskIsAnError() async throws {
    try await Scene.with { scene in
      try scene.server.psql("CREATE ROLE app")
      try scene.server.psql("CREATE DATABASE large OWNER app")
      try scene.psql(
        "CREATE TABLE t AS SELECT md5(i::text) || md5((-i)::text) AS t FROM generate_series(1, 300000) AS i; ALTER TABLE t OWNER TO app",
        "large")
      let disk = "\(scene.directory)/disk"
      try run(["mkdir", disk])
      try run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk])
      defer {
        // The directory goes with the test either way.
        _ = try? run(["umount", "-l", disk], allowFailure: true)
      }
      for (limit, fits) in [(1 << 20, true), (1 << 30, false)] {
        // What is read fast enough leaves room for the rest: only a disk without any is sure to fail.
        if !fits { try run(["sh", "-c", "cat /dev/zero > \(disk)/filler 2> /dev/null || true"]) }
        let store = scene.store
        let tools = try PostgresDumpTools(
          binaries: scene.server.binaries, scratch: "\(disk)/\(limit)", superuser: "postgres",
          spoolLimit: limit, log: Logger(label: "test"), store: { _ in store })
        let order = DumpOrder(
          id: "d", project: "p", database: "large", format: .directory, jobs: 2)
        do {
          let stored = try await tools.make(order, from: scene.compute) { _ in }
          #expect(fits && stored.sizeBytes > 8 << 20, "\(stored)")
          // What is there whole is not made again.
          try await tools.remove(dump: "d", project: "p")
        } catch let error as DumpError {
          #expect(!fits && error.message.contains("No space left"), "\(error)")
          #expect(try await scene.objects == [])
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: tools.scratch) == [])
      }
    }
  }

  @Test func missingDatabasesAreNamed() async throws {
    try await Scene.with { scene in
      do {
        _ = try await scene.make("d", database: "nowhere")
        Issue.record("it was dumped")
      } catch let error as DumpError {
        #expect(error.message.contains("nowhere") && !error.isTemporary)
      }
    }
  }

  @Test func aRestoreIsWholeOrNotAtAll() async throws {
    try await Scene.with { scene in
      try scene.fill()
      _ = try await scene.make("d")
      // Not empty: refused, and unchanged.
      try scene.server.psql("CREATE DATABASE busy OWNER app")
      try scene.psql("CREATE TABLE mine AS SELECT 1 AS id", "busy")
      await #expect(throws: DumpError.self) { _ = try await scene.restore("d", into: "busy") }
      #expect(
        try scene.psql("SELECT count(*) FROM pg_class WHERE relname = 'orders'", "busy") == "0")
      // Some tables beside what is there, with what belongs to them; what cannot hold is named.
      let notes = try await scene.restore("d", into: "busy", tables: ["public.customers", "parts"])
      #expect(notes == [], "\(notes)")
      #expect(
        try scene.psql(
          "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM parts_high), (SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname LIKE '%pkey')",
          "busy") == "50|201|4")
      await #expect(throws: DumpError.self) {
        _ = try await scene.restore("d", into: "busy", tables: ["customers"])
      }
      // A type that is not there: the whole restore is taken back.
      await #expect(throws: DumpError.self) {
        _ = try await scene.restore("d", into: "busy", tables: ["orders"])
      }
      #expect(
        try scene.psql("SELECT count(*) FROM pg_class WHERE relname LIKE 'orders%'", "busy")
          == "0")
      try scene.psql("CREATE TYPE mood AS ENUM ('sad', 'it''s <ok>'); DROP TABLE customers", "busy")
      let orders = try await scene.restore("d", into: "busy", tables: ["orders"])
      #expect(orders.contains { $0.contains("orders_customer_id_fkey") }, "\(orders)")
      #expect(orders.contains { $0.contains("stamp") }, "\(orders)")
      #expect(try scene.psql("SELECT count(*), max(id) FROM orders", "busy") == "500|500")
      #expect(
        try scene.psql(
          "INSERT INTO orders (customer_id, state) VALUES (1, 'open') RETURNING id", "busy")
          == "501")
      #expect(try scene.restoreRoles == "0")
    }
  }

  @Test func whatTenantsWroteRunsAsNobodySpecial() async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 1)
      // An expression of an index runs while it is restored.
      try scene.psql(
        """
        CREATE FUNCTION who(int) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
          IF (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
            AND current_database() = 'trap' THEN
            RAISE EXCEPTION 'a superuser walks in'; END IF;
          RETURN session_user; END $$;
        ALTER FUNCTION who(int) OWNER TO app;
        CREATE INDEX who_index ON orders (who(id));
        """)
      _ = try await scene.make("d")
      _ = try await scene.restore("d", into: "trap")
      #expect(
        try scene.psql("SELECT count(*) FROM pg_class WHERE relname = 'who_index'", "trap") == "1"
      )
    }
  }
}
