import ControlPlane
import PostgresClient
import TestSupport
import Testing

@testable import Dumps

/// What stays of a database that a restore makes for itself, where the restore is cut off and then fails.
@Suite(.serialized, .heavy, .needsPostgres()) struct MadeDatabaseTests {
  private struct Place {
    let scene: Scene
    let operation: String

    /// What a killed serve leaves: the role, the note and an empty database.
    func begin(_ database: String) throws {
      var random = SystemRandomNumberGenerator()
      let role = RestoreRole(operation: operation, random: &random)
      let cluster = try scene.tools.connect(scene.compute, "postgres")
      defer { cluster.close() }
      try role.make(cluster)
      let made = MadeDatabase(role: role, name: database, cluster: cluster)
      #expect(try made.make(owner: "app", options: ""))
      #expect(try !made.make(owner: "app", options: ""))
    }

    func restore(_ database: String, isGone: Bool = false) async throws {
      var order = RestoreOrder(
        dump: "d", project: "p", operation: operation, database: database, tables: nil,
        owner: "app")
      order.isGone = isGone
      try await scene.tools.restore(order, to: scene.compute) { _ in }
    }

    /// An attempt that the object store fails; returns what it said.
    func fail(_ database: String, isGone: Bool = false) async -> String {
      if !isGone { scene.store.setRule { _ in .before } }
      defer { scene.store.setRule(nil) }
      let error = await #expect(throws: DumpError.self) {
        try await restore(database, isGone: isGone)
      }
      return error?.message ?? ""
    }

    /// How many sessions the database takes; empty where it is gone.
    func limit(_ database: String) throws -> String {
      try scene.server.psql("SELECT datconnlimit FROM pg_database WHERE datname = '\(database)'")
    }
  }

  private func with(_ body: (Place) async throws -> Void) async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 20)
      _ = try await scene.make("d")
      try await body(Place(scene: scene, operation: "op-1"))
      #expect(try scene.restoreRoles == "0")
    }
  }

  @Test func itGoesWithTheAttemptThatFails() async throws {
    try await with { place in
      try place.begin("begun")
      let said = await place.fail("begun")
      #expect(said.contains("keep a dump"), "\(said)")
      #expect(try place.limit("begun") == "")
      // The dump was deleted meanwhile.
      try place.begin("begun")
      let gone = await place.fail("begun", isGone: true)
      #expect(gone == "restore dump 'd': it was deleted")
      #expect(try place.limit("begun") == "")
      // One that fails after it took the database over.
      try place.begin("begun")
      let key = try await place.scene.tools.manifest("d", place.scene.store).key(ofPack: 0, "d")
      var pack = try await place.scene.store.get(key, range: nil)
      pack[pack.count / 2] ^= 1
      try await place.scene.store.put(key, .bytes(pack))
      await #expect(throws: DumpError.self) { try await place.restore("begun") }
      #expect(try place.limit("begun") == "")
      // A first attempt makes it, and fails at the end, when rows and large objects are there.
      try place.scene.psql(
        """
        CREATE FUNCTION fails(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
          IF current_database() = 'made' THEN RAISE EXCEPTION 'not here'; END IF;
          RETURN $1; END $$;
        ALTER FUNCTION fails(int) OWNER TO app;
        CREATE INDEX fails_index ON customers (fails(id));
        """)
      _ = try await place.scene.make("d")
      let failure = await #expect(throws: DumpError.self) { try await place.restore("made") }
      #expect(failure?.message.contains("not here") == true, "\(failure as Any)")
      #expect(try place.limit("made") == "", "\(failure as Any)")
    }
  }

  @Test func itIsFilledByTheNextAttempt() async throws {
    try await with { place in
      try place.begin("begun")
      // An attempt that died while it removed it.
      try place.scene.server.psql("ALTER DATABASE begun CONNECTION LIMIT 0")
      try await place.restore("begun")
      #expect(try place.limit("begun") == "-1")
      #expect(try place.scene.psql("SELECT count(*) FROM orders", "begun") == "20")
    }
  }

  @Test func whatSomebodyElseMadeStays() async throws {
    try await with { place in
      try place.scene.server.psql("CREATE DATABASE theirs OWNER app CONNECTION LIMIT 7")
      let said = await place.fail("theirs")
      #expect(said.contains("keep a dump") && !said.contains("theirs"), "\(said)")
      #expect(try place.limit("theirs") == "7")
      // In the place of one that the restore had made.
      try place.begin("begun")
      try place.scene.server.psql("DROP DATABASE begun")
      try place.scene.server.psql("CREATE DATABASE begun OWNER app CONNECTION LIMIT 7")
      _ = await place.fail("begun")
      #expect(try place.limit("begun") == "7")
      // What another restore has begun is not this one's.
      let other = Place(scene: place.scene, operation: "op-2")
      try other.begin("others")
      _ = await place.fail("others")
      #expect(try place.limit("others") == "-1")
      _ = await other.fail("others")
      #expect(try place.limit("others") == "")
    }
  }

  @Test func whatSomethingWasPutIntoStays() async throws {
    try await with { place in
      let changes = [
        "CREATE TABLE t (i int)", "CREATE SCHEMA s", "CREATE TYPE e AS ENUM ('a')",
        "SELECT lo_from_bytea(0, 'x')", "GRANT CREATE ON SCHEMA public TO reader",
        "COMMENT ON SCHEMA public IS 'ours'",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app",
      ]
      for (number, change) in changes.enumerated() {
        let name = "begun \(number)"
        try place.begin(name)
        try place.scene.psql(change, name)
        let said = await place.fail(name)
        #expect(said.contains("'\(name)' was made for it and stays"), "\(change): \(said)")
        #expect(try place.limit(name) == "-1", "\(change)")
      }
    }
  }

  @Test func whatSomebodyIsAboutToFillStays() async throws {
    try await with { place in
      try place.begin("begun")
      let session = try place.scene.tools.connect(place.scene.compute, "begun")
      try session.execute("BEGIN; CREATE TABLE public.t (i int)")
      let said = await place.fail("begun")
      #expect(said.contains("1 other sessions use it"), "\(said)")
      try session.execute("COMMIT")
      session.close()
      #expect(try place.scene.psql("SELECT count(*) FROM t", "begun") == "0")
    }
  }
}
