import APITypes
import ControlPlane
import Foundation
import Logging
import ObjectStorage
import Synchronization
import TestSupport
import Testing

@testable import Dumps

/// A stock server with a database full of what is hard to dump, and tools over a store in memory.
struct Scene: Sendable {
  let server: StockServer
  let store: FaultyObjectStore
  let tools: PostgresDumpTools
  let directory: String

  static let database = #"odd "name" <b>ü</b> 'x' \ end"#

  static func with(_ body: (Scene) async throws -> Void) async throws {
    try await withTemporaryDirectory { directory in
      chmod(directory, 0o711)
      let server = try await onThread {
        let server = try StockServer(in: "\(directory)/server")
        try server.start()
        return server
      }
      let store = FaultyObjectStore(MemoryObjectStore())
      let scene = Scene(
        server: server, store: store,
        tools: try PostgresDumpTools(
          binaries: server.binaries, scratch: "\(directory)/scratch", superuser: "postgres",
          log: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
          store: { _ in store }), directory: directory)
      try await body(scene)
      try await onThread { try server.stop(mode: "immediate") }
    }
  }

  var compute: RunningCompute {
    RunningCompute(
      computeID: "c", lineID: "l", socketDirectory: server.directory, port: server.port,
      startedAt: Date(), pid: 0)
  }

  @discardableResult
  func psql(_ sql: String, _ database: String = Scene.database) throws -> String {
    try server.psql(sql, database: database)
  }

  /// Roles, and the database with tables of every kind.
  func fill(rows: Int = 500) throws {
    try server.psql(
      #"""
      CREATE ROLE app LOGIN; CREATE ROLE "Other ""role"" <i>" NOLOGIN; CREATE ROLE reader;
      GRANT app TO reader; ALTER ROLE reader SET work_mem = '8MB';
      """#)
    try server.psql("CREATE DATABASE \(quoted(Scene.database)) OWNER app")
    try psql(Self.schema)
    try psql(
      """
      INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 50) AS i;
      INSERT INTO orders (customer_id, state, amount) SELECT 1 + i % 50, 'open', i * 1.5
        FROM generate_series(1, \(rows)) AS i;
      INSERT INTO parts SELECT i, md5(i::text) FROM generate_series(1, 300) AS i;
      INSERT INTO "odd schema"."a ""table"" <script>.x" VALUES (E'tab\\tline\\nback\\\\slash \\\\. ü', NULL);
      REFRESH MATERIALIZED VIEW totals;
      SET ROLE app;
      SELECT lo_from_bytea(0, decode(repeat('deadbeef', 1000), 'hex'));
      """)
  }

  private static let schema = #"""
    CREATE TYPE mood AS ENUM ('sad', 'it''s <ok>');
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (
      id serial PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY,
      customer_id int NOT NULL REFERENCES customers (id),
      state varchar(10) NOT NULL CHECK (state IN ('open', 'closed')),
      amount numeric, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED, feeling mood,
      made timestamptz DEFAULT now());
    CREATE INDEX orders_customer ON orders (customer_id);
    CREATE UNIQUE INDEX orders_number ON orders (number) WHERE state = 'open';
    CREATE TABLE items (order_id int REFERENCES orders (id), what text);
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      NEW.made := '2020-01-01'; RETURN NEW; END $$;
    CREATE TRIGGER stamped BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.made IS NULL)
      EXECUTE FUNCTION stamp();
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON orders USING (customer_id < 1000);
    CREATE TABLE parts (id int, body text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
    CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (100000);
    CREATE MATERIALIZED VIEW totals AS SELECT customer_id, sum(amount) FROM orders GROUP BY 1;
    CREATE VIEW open_orders AS SELECT * FROM orders WHERE state = 'open';
    CREATE SCHEMA "odd schema" AUTHORIZATION app;
    CREATE TABLE "odd schema"."a ""table"" <script>.x" ("col ""1""; DROP TABLE x" text, r text);
    COMMENT ON TABLE orders IS E'a comment\n\\! touch /tmp/never';
    CREATE UNLOGGED TABLE quick (id int);
    ALTER TABLE customers OWNER TO app; ALTER TABLE orders OWNER TO app;
    ALTER TABLE items OWNER TO app; ALTER TABLE parts OWNER TO app;
    ALTER TABLE parts_low OWNER TO app; ALTER TABLE parts_high OWNER TO app;
    ALTER FUNCTION stamp() OWNER TO app; ALTER TYPE mood OWNER TO app;
    ALTER MATERIALIZED VIEW totals OWNER TO app; ALTER VIEW open_orders OWNER TO app;
    ALTER TABLE quick OWNER TO app;
    ALTER TABLE "odd schema"."a ""table"" <script>.x" OWNER TO "Other ""role"" <i>";
    GRANT SELECT ON orders TO reader;
    """#

  func quoted(_ name: String) -> String { "\"\(name.replacing("\"", with: "\"\""))\"" }

  func make(
    _ id: String, _ format: API.DumpFormat = .custom, jobs: Int = 1,
    database: String = Scene.database
  ) async throws -> StoredDump {
    try await tools.make(
      DumpOrder(id: id, project: "p", database: database, format: format, jobs: jobs),
      from: compute
    ) { _ in }
  }

  func restore(
    _ id: String, into database: String, tables: [String]? = nil
  ) async throws -> [String] {
    try await outcome {
      try await tools.restore(
        RestoreOrder(
          dump: id, project: "p", operation: "op-\(id)-\(database.count)", database: database,
          tables: tables, owner: "app"), to: compute, committed: $0)
    }
  }

  func recover(_ order: TableOrder, from past: RunningCompute) async throws -> [String] {
    try await outcome { try await tools.recover(order, from: past, to: compute, committed: $0) }
  }

  /// What a restore notes.
  private func outcome(
    _ body: (@escaping @Sendable (RestoreOutcome) async throws -> Void) async throws -> Void
  ) async throws -> [String] {
    let notes = Mutex<[String]>([])
    try await body { outcome in notes.withLock { $0 = outcome.notes } }
    return notes.withLock { $0 }
  }

  /// All bytes of the download.
  func download(_ id: String) async throws -> [UInt8] {
    let file = try await tools.open(dump: id, project: "p")
    var bytes: [UInt8] = []
    while bytes.count < file.size {
      bytes += try await file.read(from: bytes.count, to: file.size)
    }
    return bytes
  }

  var objects: [String] {
    get async throws {
      try await store.base.list(prefix: "", after: nil, limit: 1000).map(\.key.name)
    }
  }

  /// What was left on local disk.
  var leftovers: [String] {
    get throws { try FileManager.default.contentsOfDirectory(atPath: tools.scratch) }
  }

  /// Roles that a restore made for itself.
  var restoreRoles: String {
    get throws {
      try server.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'exzo%'")
        .trimmingCharacters(in: .whitespacesAndNewlines)
    }
  }
}
