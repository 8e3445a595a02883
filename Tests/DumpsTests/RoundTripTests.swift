import APITypes
import ControlPlane
import Foundation
import ObjectStorage
import TestSupport
import Testing

@testable import Dumps

@Suite(.serialized, .heavy, .needsPostgres()) struct RoundTripTests {
  @Test(arguments: [(API.DumpFormat.custom, 1), (.directory, 1), (.directory, 3), (.plain, 1)])
  func everyFormatComesBackAsItWas(_ format: API.DumpFormat, _ jobs: Int) async throws {
    try await Scene.with { scene in
      try scene.fill()
      if format == .plain {
        // Plain SQL gives nothing to an owner who may not create in the schema.
        try scene.psql(
          #"ALTER TABLE "odd schema"."a ""table"" <script>.x" OWNER TO app"#)
      }
      let stored = try await scene.make("d1", format, jobs: jobs)
      let source = try await scene.tools.contents(of: Scene.database, on: scene.compute)
      #expect(source.tables.count == 6)
      #expect(source.tables["\"public\".\"orders\""]?.rows == 500)
      #expect(source.largeObjects.rows == 1)
      #expect(source.sequences.count == 2)
      // The download is what was promised.
      let bytes = try await scene.download("d1")
      #expect(bytes.count == stored.sizeBytes)
      var sum = DumpSum()
      sum.add(bytes)
      #expect(sum.hexadecimal == stored.sha256)
      // In a cluster that lacks a role, into a database that is made.
      try scene.server.psql("ALTER ROLE \"Other \"\"role\"\" <i>\" RENAME TO moved")
      let notes = try await scene.restore("d1", into: "copy of it")
      #expect(notes.contains { $0.contains("Other") }, "\(notes)")
      try scene.server.psql(#"DROP OWNED BY moved"#, database: Scene.database)
      let restored = try await scene.tools.contents(of: "copy of it", on: scene.compute)
      #expect(restored.tables == source.tables)
      #expect(restored.sequences == source.sequences)
      #expect(restored.largeObjects == source.largeObjects)
      #expect(restored.schema == source.schema || Self.sameButCheck(source.schema, restored.schema))
      #expect(
        try scene.psql(
          "SELECT count(*) FROM pg_class WHERE relowner = 'app'::regrole AND relname = 'orders'",
          "copy of it"
        ) == "1")
      #expect(!FileManager.default.fileExists(atPath: "/tmp/never"))
      #expect(try scene.restoreRoles == "0")
      #expect(try scene.leftovers == [])
    }
  }

  /// PostgreSQL prints `varchar IN (…)` in other words once it was loaded anew.
  private static func sameButCheck(_ a: String, _ b: String) -> Bool {
    func without(_ text: String) -> [Substring] {
      text.split(separator: "\n").filter { !$0.contains("orders_state_check") }
    }
    return without(a) == without(b)
  }

  @Test func plainPostgresReadsTheDownloads() async throws {
    try await Scene.with { scene in
      try scene.fill()
      for (id, format) in [("c", API.DumpFormat.custom), ("t", .directory), ("s", .plain)] {
        _ = try await scene.make(id, format, jobs: format == .directory ? 2 : 1)
        let path = "\(scene.directory)/\(id).file"
        try Data(try await scene.download(id)).write(to: URL(fileURLWithPath: path))
        try scene.server.psql("CREATE DATABASE by_hand_\(id)")
        let target = scene.server.connection.with(database: "by_hand_\(id)")
        switch format {
        case .custom: try run([target.program("pg_restore"), "-d", target.conninfo, path])
        case .directory:
          try run(["tar", "-C", scene.directory, "-xf", path])
          #expect(
            try run(["head", "-c", "100", "\(scene.directory)/t/globals.sql"]).output
              .contains("without passwords"))
        case .plain:
          try run([
            target.program("psql"), "-v", "ON_ERROR_STOP=1", "-qd", target.conninfo, "-f", path,
          ])
        }
        guard format != .directory else { continue }
        #expect(try scene.psql("SELECT count(*) FROM orders", "by_hand_\(id)") == "500")
      }
    }
  }

  @Test func aDifferenceIsFoundWhereverItIs() async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 50)
      _ = try await scene.make("d")
      let source = try await scene.tools.contents(of: Scene.database, on: scene.compute)
      let planted = [
        "UPDATE customers SET name = 'Customer 7' WHERE id = 7",
        "DELETE FROM items; INSERT INTO items VALUES (1, 'x')",
        "SELECT nextval('orders_id_seq')", "DROP INDEX orders_customer",
        "SELECT lo_put(oid, 0, 'x') FROM pg_largeobject_metadata",
        "REVOKE SELECT ON orders FROM reader",
      ]
      for (number, sql) in planted.enumerated() {
        let copy = "copy \(number)"
        _ = try await scene.restore("d", into: copy)
        let sound = ContentsComparison(
          source: source, restored: try await scene.tools.contents(of: copy, on: scene.compute))
        #expect(sound.verificationOfData == [], "\(sound.verificationOfData)")
        try scene.psql(sql, copy)
        let altered = ContentsComparison(
          source: source, restored: try await scene.tools.contents(of: copy, on: scene.compute))
        let found = altered.verification(at: Date(), notes: []).differences
        #expect(
          found.count > sound.verification(at: Date(), notes: []).differences.count
            || found != sound.verification(at: Date(), notes: []).differences, "\(sql): \(found)")
      }
    }
  }

  @Test func rangesAreSlicesAndDamageIsRefused() async throws {
    try await Scene.with { scene in
      try scene.fill()
      _ = try await scene.make("d", .directory, jobs: 2)
      let whole = try await scene.download("d")
      let file = try await scene.tools.open(dump: "d", project: "p")
      var random = SeededRandom(seed: 7)
      for _ in 0..<200 {
        let start = Int.random(in: 0..<whole.count, using: &random)
        let end = Int.random(in: (start + 1)...whole.count, using: &random)
        var position = start
        while position < end {
          let bytes = try await file.read(from: position, to: end)
          try #require(!bytes.isEmpty && Array(whole[position..<(position + bytes.count)]) == bytes)
          position += bytes.count
        }
      }
      let key = try await scene.tools.manifest("d", scene.store).key(ofPack: 0, "d")
      var pack = try await scene.store.get(key, range: nil)
      pack[pack.count / 2] ^= 1
      try await scene.store.put(key, .bytes(pack))
      await #expect(throws: DumpError.self) { _ = try await scene.download("d") }
      await #expect(throws: DumpError.self) { _ = try await scene.restore("d", into: "never") }
      #expect(
        try scene.server.psql("SELECT count(*) FROM pg_database WHERE datname = 'never'") == "0")
    }
  }

  /// The hash of an enumeration's value is that of its OID: rows lie in other partitions after a restore.
  @Test func rowsInOtherPartitionsAreTheSameRows() async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 10)
      try scene.psql(
        """
        CREATE TYPE phase AS ENUM ('sad', 'ok', 'glad', 'so', 'too');
        CREATE TABLE m (id int, mood phase, note text) PARTITION BY LIST (id);
        CREATE TABLE m_all PARTITION OF m DEFAULT PARTITION BY HASH (mood);
        CREATE TABLE m_0 PARTITION OF m_all FOR VALUES WITH (MODULUS 3, REMAINDER 0);
        CREATE TABLE m_1 (note text, mood phase, id int);
        ALTER TABLE m_all ATTACH PARTITION m_1 FOR VALUES WITH (MODULUS 3, REMAINDER 1);
        CREATE TABLE m_2 PARTITION OF m_all FOR VALUES WITH (MODULUS 3, REMAINDER 2);
        INSERT INTO m SELECT g, (enum_range(NULL::phase))[1 + g % 5], 'n' || g FROM generate_series(1, 500) g;
        """)
      _ = try await scene.make("d", .custom)
      let notes = try await scene.restore("d", into: "copy")
      let source = try await scene.tools.contents(of: Scene.database, on: scene.compute)
      let restored = try await scene.tools.contents(of: "copy", on: scene.compute)
      let result = ContentsComparison(source: source, restored: restored)
        .verification(at: Date(), notes: notes)
      #expect(result.differences.filter { !$0.contains("orders_state_check") } == [])
      #expect(source.tables["\"public\".\"m_all\""]?.rows == 500)
      let rows = "SELECT string_agg(tableoid::regclass || ' ' || id, ',' ORDER BY id) FROM m"
      #expect(
        try scene.psql(rows) != scene.psql(rows, "copy"), "the rows should lie in other partitions")
      try scene.psql("UPDATE m SET note = 'x' WHERE id = 7", "copy")
      let changed = try await scene.tools.contents(of: "copy", on: scene.compute)
      #expect(
        ContentsComparison(source: source, restored: changed)
          .verification(at: Date(), notes: []).differences.contains { $0.contains("m_all") })
    }
  }

  /// A child's columns stand where a new child's would; rows that name roles; both as `pg_dump` brings them back.
  @Test func columnsThatMovedAndRolesInRowsAreTheSame() async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 10)
      try scene.psql(
        """
        CREATE TABLE par (a int); CREATE TABLE chi ("b ""x" text) INHERITS (par);
        INSERT INTO chi VALUES (1, 'x'), (2, NULL); ALTER TABLE par ADD COLUMN c int DEFAULT 9;
        CREATE TABLE late (a int, c int, z text); INSERT INTO late VALUES (1, 2, 'three');
        CREATE TABLE parent (z text, a int); ALTER TABLE late INHERIT parent;
        CREATE TABLE named (r regrole);
        ALTER TABLE par OWNER TO app; ALTER TABLE chi OWNER TO app; ALTER TABLE named OWNER TO app
        """)
      try scene.server.psql("CREATE ROLE nobody_owns")
      try scene.psql("INSERT INTO named VALUES ('nobody_owns')")
      _ = try await scene.make("d", .custom)
      let source = try await scene.tools.contents(of: Scene.database, on: scene.compute)
      try scene.server.psql("ALTER ROLE nobody_owns RENAME TO moved")
      let notes = try await scene.restore("d", into: "copy")
      #expect(notes.contains { $0.contains("nobody_owns") }, "\(notes)")
      let restored = try await scene.tools.contents(of: "copy", on: scene.compute)
      for table in ["chi", "late", "par", "parent", "named"] {
        let name = "\"public\".\"\(table)\""
        #expect(
          source.tables[name] != nil && source.tables[name] == restored.tables[name], "\(table)")
      }
      try scene.psql("UPDATE chi SET c = 8 WHERE a = 2", "copy")
      let changed = try await scene.tools.contents(of: "copy", on: scene.compute)
      #expect(source.tables["\"public\".\"chi\""] != changed.tables["\"public\".\"chi\""])
    }
  }

  /// Large objects of a plain dump come with a transaction of their own, which must not end the restore's.
  @Test func aPlainDumpWithLargeObjectsIsRestoredWholeOrNotAtAll() async throws {
    try await Scene.with { scene in
      try scene.server.psql("CREATE ROLE app LOGIN")
      try scene.server.psql("CREATE DATABASE large OWNER app")
      try scene.psql(
        """
        SELECT lo_put(lo_create(777), 10, '\\xff'); SELECT lo_put(lo_create(778), 0, '\\x01');
        ALTER LARGE OBJECT 777 OWNER TO app; ALTER LARGE OBJECT 778 OWNER TO app;
        COMMENT ON DATABASE large IS 'with objects';
        CREATE TABLE t AS SELECT E'BEGIN;\n\nSELECT pg_catalog.lo_open(1, 2)' AS x;
        CREATE TABLE lines (x text); INSERT INTO lines VALUES ('BEGIN;'), (''),
          ('SELECT pg_catalog.lo_open(''1'', 131072);'), ('COMMIT;');
        ALTER TABLE t OWNER TO app; ALTER TABLE lines OWNER TO app; ALTER SCHEMA public OWNER TO app
        """, "large")
      _ = try await scene.make("d", .plain, database: "large")
      let source = try await scene.tools.contents(of: "large", on: scene.compute)
      _ = try await scene.restore("d", into: "copy")
      let restored = try await scene.tools.contents(of: "copy", on: scene.compute)
      #expect(source.tables == restored.tables && source.tables["\"public\".\"lines\""]?.rows == 4)
      #expect(source.largeObjects == restored.largeObjects && source.largeObjects.rows == 2)
      // An index that cannot be made comes after them.
      try scene.psql(
        """
        CREATE FUNCTION inner_one(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
        CREATE FUNCTION outer_one(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
          AS 'BEGIN RETURN inner_one($1); END';
        CREATE INDEX ON t (outer_one(x));
        ALTER FUNCTION inner_one OWNER TO app; ALTER FUNCTION outer_one OWNER TO app
        """, "large")
      _ = try await scene.make("e", .plain, database: "large")
      await #expect(throws: (any Error).self) { _ = try await scene.restore("e", into: "second") }
      let left = try scene.server.psql("SELECT count(*) FROM pg_database WHERE datname = 'second'")
      if left != "0" {
        #expect(
          try scene.psql(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace", "second")
            == "0")
      }
    }
  }

  /// The database's own `client_encoding` may not take what is in it, neither its rows nor its names.
  @Test(arguments: [API.DumpFormat.custom, .plain])
  func aClientEncodingChangesNothing(_ format: API.DumpFormat) async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 10)
      try scene.psql(
        """
        CREATE TABLE "日本" (id int, t text); INSERT INTO "日本" VALUES (1, '東京');
        ALTER TABLE "日本" OWNER TO app;
        ALTER DATABASE \(scene.quoted(Scene.database)) SET client_encoding = 'LATIN1'
        """)
      _ = try await scene.make("d", format)
      let source = try await scene.tools.contents(of: Scene.database, on: scene.compute)
      #expect(source.tables[#""public"."日本""#]?.rows == 1)
      let file = try await scene.download("d")
      #expect(
        format != .plain || String(decoding: file, as: UTF8.self).contains("1\t東京"))
      guard format == .custom else { return }
      _ = try await scene.restore("d", into: "copy")
      let restored = try await scene.tools.contents(of: "copy", on: scene.compute)
      #expect(source.tables == restored.tables)
    }
  }

  /// Some tables of a database in another encoding, by their names.
  @Test func tablesOfAnotherEncodingAreFoundByName() async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 10)
      try scene.server.psql(
        "CREATE DATABASE latin ENCODING 'LATIN2' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' OWNER app"
      )
      try scene.psql(
        """
        SET client_encoding = 'UTF8'; SET ROLE app;
        CREATE TABLE "główna" (id int PRIMARY KEY, t text); INSERT INTO "główna" VALUES (1, 'żółw');
        CREATE TABLE "część" (id int CONSTRAINT "łącze" REFERENCES "główna", t text);
        INSERT INTO "część" VALUES (1, 'ść')
        """, "latin")
      _ = try await scene.make("d", .custom, database: "latin")
      let notes = try await scene.restore(
        "d", into: "some", tables: [#""główna""#, #""część""#])
      #expect(!notes.contains { $0.contains("not restored") }, "\(notes)")
      let utf8 = "SET client_encoding = 'UTF8';"
      #expect(try scene.psql(#"\#(utf8) SELECT t FROM "część""#, "some") == "ść")
      #expect(try scene.psql(#"\#(utf8) SELECT t FROM "główna""#, "some") == "żółw")
      #expect(
        try scene.psql("\(utf8) SELECT count(*) FROM pg_constraint WHERE conname = 'łącze'", "some")
          == "1")
    }
  }

  /// A materialized view reads its tables as its owner, for whom policies count where they are forced.
  @Test func viewsOverForcedPoliciesAreFilledAsTheyWere() async throws {
    try await Scene.with { scene in
      try scene.fill(rows: 10)
      try scene.psql(
        """
        CREATE TABLE secret (id int PRIMARY KEY, t text);
        INSERT INTO secret VALUES (1, 'a'), (2, 'b'); ALTER TABLE secret OWNER TO app;
        ALTER TABLE secret ENABLE ROW LEVEL SECURITY; ALTER TABLE secret FORCE ROW LEVEL SECURITY;
        CREATE POLICY one ON secret USING (id < 2);
        SET ROLE app; CREATE MATERIALIZED VIEW seen AS SELECT * FROM secret
        """)
      _ = try await scene.make("d", .custom)
      _ = try await scene.restore("d", into: "copy")
      #expect(try scene.psql("SELECT string_agg(t, ',') FROM seen", "copy") == "a")
      #expect(try scene.psql("SELECT count(*) FROM secret", "copy") == "2")
    }
  }

  /// Objects that are whole, but not those of the dump, and a manifest with a bit turned.
  @Test func objectsOfAnotherDumpAreRefused() async throws {
    try await Scene.with { scene in
      try scene.fill()
      for id in ["one", "two"] { _ = try await scene.make(id, .custom) }
      func refused(_ what: String) async throws {
        let proof = try await scene.tools.check(
          dump: "one", project: "p", bytesPerSecond: .max)
        #expect(proof.problems.contains { $0.contains(what) }, "\(proof.problems)")
        await #expect(throws: DumpError.self) { _ = try await scene.download("one") }
        await #expect(throws: DumpError.self) { _ = try await scene.restore("one", into: "never") }
      }
      let first = StoredManifest.key("one")
      let manifest = try await scene.store.get(first, range: nil)
      for listed in try await scene.store.list(prefix: "dumps/two/", after: nil, limit: 100) {
        let key = ObjectKey(listed.key.name.replacing("dumps/two/", with: "dumps/one/"))
        try await scene.store.put(key, .bytes(scene.store.get(listed.key, range: nil)))
      }
      try await refused("that of dump 'two'")
      for offset in [0, manifest.count / 3, manifest.count / 2, manifest.count - 1] {
        var turned = manifest
        turned[offset] ^= 1
        try await scene.store.put(StoredManifest.key("one"), .bytes(turned))
        try await refused("damaged")
      }
      try await scene.store.put(
        StoredManifest.key("one"), .bytes(Array(manifest.dropLast(9))))
      try await refused("cut off")
    }
  }

  /// As it was written before manifests had checksums.
  @Test func aManifestOfVersionOneIsRead() async throws {
    try await Scene.with { scene in
      try scene.fill()
      _ = try await scene.make("old", .custom)
      let key = StoredManifest.key("old")
      var manifest = try StoredManifest(
        object: try await scene.store.get(key, range: nil), of: "old")
      (manifest.version, manifest.dump) = (1, nil)
      try await scene.store.put(key, .bytes([UInt8](APICoding.encode(manifest))))
      let proof = try await scene.tools.check(dump: "old", project: "p", bytesPerSecond: .max)
      #expect(proof.problems.isEmpty)
      _ = try await scene.restore("old", into: "from old")
    }
  }

  @Test func twoDumpsAtOnceDoNotMeet() async throws {
    try await Scene.with { scene in
      try scene.fill()
      async let first = scene.make("one", .directory, jobs: 2)
      async let second = scene.make("two", .custom)
      _ = try await (first, second)
      _ = try await scene.restore("one", into: "from one")
      _ = try await scene.restore("two", into: "from two")
      #expect(
        try await scene.tools.contents(of: "from one", on: scene.compute).tables
          == scene.tools.contents(of: "from two", on: scene.compute).tables)
    }
  }
}

extension ContentsComparison {
  /// Differences but those of the schema's wording.
  fileprivate var verificationOfData: [String] {
    verification(at: Date(), notes: []).differences.filter { !$0.hasPrefix("schema") }
  }
}
