import Foundation
import PostgresFormat
import TestSupport
import Testing

/// The majors whose binaries are installed on this machine.
let installedMajors: [PostgresMajor] = PostgresMajor.allCases.filter {
  FileManager.default.isExecutableFile(
    atPath: StockServer.binaries(major: $0.rawValue) + "/initdb")
}

func readFile(_ path: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
}

func writeFile(_ path: String, _ bytes: [UInt8]) throws {
  let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
  try handle.write(contentsOf: Data(bytes))
  try handle.close()
}

/// The bytes of timeline 1's WAL from `start` to `end`, across files of the default size.
func walBytes(_ directory: String, _ start: LSN, _ end: LSN) throws -> [UInt8] {
  var result: [UInt8] = []
  var position = start
  while position < end {
    let segment = WALSegment(timeline: TimelineID(1), containing: position)
    let file = try readFile("\(directory)/\(segment.fileName)")
    let from = Int(position - segment.startLSN)
    let to = Int(min(end, segment.endLSN) - segment.startLSN)
    result += file[from..<to]
    position = segment.startLSN + UInt64(to)
  }
  return result
}

/// A record copied out of a reader's closure.
struct CopiedRecord: Hashable {
  var start: LSN
  var end: LSN
  var text: String
  var content: WALRecordContent
  var operation: HeapOperation?
  var cleared: ClearedVisibility

  init(_ record: WALRecordView) throws {
    start = record.startLSN
    end = record.endLSN
    text = record.description
    content = try record.content()
    operation = record.heapOperation
    cleared = record.clearedVisibility
  }
}

/// A stretch of real WAL: all of it from a page's start to the end of its last record.
struct WALSample {
  var major: PostgresMajor
  var bytes: [UInt8]
  var start: LSN
  /// `pg_waldump`'s lines for it.
  var dump: [String]
  var controlFile: [UInt8]
  /// A page file of a table, checksums on.
  var relation: [UInt8]

  var reader: WALStreamReader { WALStreamReader(format: major, startingAtPage: start) }

  func records() throws -> [CopiedRecord] {
    var reader = reader
    var records: [CopiedRecord] = []
    let outcome = try reader.feed(bytes, at: start) { records.append(try CopiedRecord($0)) }
    #expect(outcome == .needsBytes)
    return records
  }
}

extension WALSample {
  /// Runs pgbench and much else on a stock server and keeps what it wrote.
  static func make(_ major: PostgresMajor, fullPageWrites: Bool) async throws -> WALSample {
    try await withTemporaryDirectory { directory in
      let server = try StockServer(
        in: "\(directory)/server", major: major.rawValue,
        settings: [
          "full_page_writes=\(fullPageWrites ? "on" : "off")", "max_prepared_transactions=5",
          "wal_level=logical", "wal_compression=\(fullPageWrites ? "pglz" : "off")",
          "wal_keep_size=2GB", "autovacuum=off",
        ])
      try server.start()
      let start = try server.position("pg_current_wal_insert_lsn()")
      try server.pgbench(["-i", "-s", "1", "-q"])
      try server.psql("CHECKPOINT")
      try server.pgbench(["-c", "2", "-t", "250"])
      try server.runMixedWork()
      let end = try server.position("pg_current_wal_flush_lsn()")
      let table = try server.psql("SELECT pg_relation_filepath('pgbench_accounts')")
      try server.stop()
      let wal = "\(server.dataDirectory)/pg_wal"
      return WALSample(
        major: major, bytes: try walBytes(wal, start.pageStart, end), start: start.pageStart,
        dump: try dump(server, start.pageStart, end),
        controlFile: try readFile("\(server.dataDirectory)/global/pg_control"),
        relation: try readFile("\(server.dataDirectory)/\(table)"))
    }
  }

  private static func dump(_ server: StockServer, _ start: LSN, _ end: LSN) throws -> [String] {
    let command = [
      "\(server.binaries)/pg_waldump", "-p", "\(server.dataDirectory)/pg_wal", "-s", "\(start)",
      "-e",
      "\(end)",
    ]
    return try run(
      command, environment: ["TZ": "UTC"], asPostgresUser: true, allowFailure: true
    ).output.split(separator: "\n").map(String.init).filter { $0.hasPrefix("rmgr: ") }
  }
}

extension WALSample {
  private static let shared = Task { try await make(.v15, fullPageWrites: false) }

  /// One sample of version 15 for every test that needs only some real WAL.
  static func any() async throws -> WALSample { try await shared.value }
}

/// A small generator, so that a failure can be repeated from its seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

extension StockServer {
  func position(_ expression: String) throws -> LSN {
    try #require(LSN(try psql("SELECT \(expression)")))
  }

  /// Statements of many kinds: DDL, 2PC, subtransactions, row locks, truncation, all index types.
  func runMixedWork() throws {
    try psql(mixedWork)
    try psql("CREATE DATABASE copied STRATEGY file_copy")
    try psql("CREATE DATABASE logged STRATEGY wal_log")
    try psql("CREATE TABLE there(a int); INSERT INTO there VALUES (1)", database: "logged")
    try psql("DROP DATABASE copied")
  }
}

private let mixedWork = """
  CREATE TABLE t(id int PRIMARY KEY, a text, b point, c int[]);
  INSERT INTO t SELECT g, repeat(md5(g::text), 3), point(g, g), ARRAY[g, g + 1]
    FROM generate_series(1, 2000) g;
  CREATE INDEX ON t USING hash (a);
  CREATE INDEX ON t USING gin (c);
  CREATE INDEX ON t USING gist (b);
  CREATE INDEX ON t USING spgist (b);
  CREATE INDEX ON t USING brin (id);
  CREATE SEQUENCE s;
  SELECT nextval('s') FROM generate_series(1, 100);
  VACUUM FREEZE t;
  UPDATE t SET a = a || 'x' WHERE id % 3 = 0;
  VACUUM t;
  DELETE FROM t WHERE id % 5 = 0;
  VACUUM FREEZE t;
  SELECT count(*) FROM (SELECT * FROM t WHERE id < 50 FOR UPDATE) q;
  INSERT INTO t SELECT g FROM generate_series(3000, 3300) g;
  BEGIN; INSERT INTO t VALUES (10001); SAVEPOINT a; INSERT INTO t VALUES (10002);
  SAVEPOINT b; INSERT INTO t VALUES (10003); ROLLBACK TO b; RELEASE a; COMMIT;
  BEGIN; CREATE TABLE dropped(a int); INSERT INTO dropped VALUES (1); ROLLBACK;
  CREATE TABLE gone(a int, b text);
  INSERT INTO gone SELECT g, repeat('z', 5000) FROM generate_series(1, 50) g;
  TRUNCATE gone; DROP TABLE gone;
  BEGIN; CREATE TABLE two(a int); INSERT INTO two VALUES (1); SAVEPOINT q;
  INSERT INTO two VALUES (2); PREPARE TRANSACTION 'first'; COMMIT PREPARED 'first';
  BEGIN; DROP TABLE two; PREPARE TRANSACTION 'second'; ROLLBACK PREPARED 'second';
  CREATE UNLOGGED TABLE u(a int); INSERT INTO u VALUES (1);
  DELETE FROM t WHERE id > 1000; VACUUM t; VACUUM FULL t; CLUSTER t USING t_pkey;
  VACUUM FULL pg_class;
  SELECT lo_from_bytea(0, decode(repeat('ab', 5000), 'hex'));
  SELECT pg_create_restore_point('here');
  SELECT pg_switch_wal();
  COPY t(id, a) FROM PROGRAM 'seq -f "%.0f\thello" 20000 20500';
  INSERT INTO t(id) VALUES (1) ON CONFLICT DO NOTHING;
  CHECKPOINT;
  """
