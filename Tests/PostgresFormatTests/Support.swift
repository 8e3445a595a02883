import Foundation
import PostgresFormat
import TestSupport
import Testing

/// Reads a whole file, or the part of it that exists.
func readFile(_ path: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
}

/// One record, copied out of the reader's closure.
struct CopiedRecord: Hashable {
  var start: LSN
  var end: LSN
  var text: String
  var bytes: [UInt8]
}

/// The WAL files of a server, read as one log.
struct WALFiles {
  var directory: String
  var segmentSize: UInt64 = WALSegment.defaultSize

  /// The bytes from `start` to `end`, across files.
  func bytes(_ start: LSN, _ end: LSN) throws -> [UInt8] {
    var result: [UInt8] = []
    var position = start
    while position < end {
      let segment = WALSegment(timeline: TimelineID(1), containing: position, size: segmentSize)
      let file = try readFile("\(directory)/\(segment.fileName)")
      let from = Int(position - segment.startLSN)
      let to = Int(min(end, segment.endLSN) - segment.startLSN)
      result += file[from..<to]
      position = segment.startLSN + UInt64(to)
    }
    return result
  }
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
  func lsn(_ expression: String) throws -> LSN {
    try #require(LSN(try psql("SELECT \(expression)")))
  }

  var wal: WALFiles { WALFiles(directory: "\(dataDirectory)/pg_wal") }

  /// Statements of many kinds: DDL, 2PC, subtransactions, multixacts, truncation, all index types.
  func runMixedWork() throws {
    try psql(mixedWork)
    try psql("CREATE DATABASE copied STRATEGY file_copy")
    try psql("CREATE DATABASE logged STRATEGY wal_log")
    try psql("CREATE TABLE there(a int); INSERT INTO there VALUES (1)", database: "logged")
    try psql("DROP DATABASE copied")
  }
}

let mixedWork = """
  CREATE TABLE t(id int PRIMARY KEY, a text, b point, c int[], d tsvector);
  INSERT INTO t SELECT g, repeat(md5(g::text), 3), point(g, g), ARRAY[g, g + 1],
    to_tsvector('simple', md5(g::text)) FROM generate_series(1, 3000) g;
  CREATE INDEX ON t USING hash (a);
  CREATE INDEX ON t USING gin (c);
  CREATE INDEX ON t USING gist (b);
  CREATE INDEX ON t USING spgist (b);
  CREATE INDEX ON t USING brin (id);
  CREATE SEQUENCE s;
  SELECT nextval('s') FROM generate_series(1, 100);
  VACUUM FREEZE t;
  UPDATE t SET a = a || 'x' WHERE id % 3 = 0;
  DELETE FROM t WHERE id % 5 = 0;
  SELECT count(*) FROM (SELECT * FROM t WHERE id < 50 FOR UPDATE) q;
  BEGIN; INSERT INTO t VALUES (10001); SAVEPOINT a; INSERT INTO t VALUES (10002);
  SAVEPOINT b; INSERT INTO t VALUES (10003); ROLLBACK TO b; RELEASE a; COMMIT;
  BEGIN; CREATE TABLE dropped(a int); INSERT INTO dropped VALUES (1); ROLLBACK;
  CREATE TABLE gone(a int, b text); INSERT INTO gone SELECT g, repeat('z', 5000) FROM generate_series(1, 50) g;
  TRUNCATE gone; DROP TABLE gone;
  BEGIN; CREATE TABLE two(a int); INSERT INTO two VALUES (1); SAVEPOINT q; INSERT INTO two VALUES (2);
  PREPARE TRANSACTION 'first'; COMMIT PREPARED 'first';
  BEGIN; DROP TABLE two; PREPARE TRANSACTION 'second'; ROLLBACK PREPARED 'second';
  CREATE UNLOGGED TABLE u(a int); INSERT INTO u VALUES (1);
  DELETE FROM t WHERE id > 1000; VACUUM t; VACUUM FULL t; CLUSTER t USING t_pkey; VACUUM FULL pg_class;
  SELECT lo_from_bytea(0, decode(repeat('ab', 5000), 'hex'));
  SELECT pg_create_restore_point('here');
  SELECT pg_switch_wal();
  COPY t(id, a) FROM PROGRAM 'seq -f "%.0f	hello" 20000 20500';
  INSERT INTO t(id) VALUES (1) ON CONFLICT DO NOTHING;
  CHECKPOINT;
  """
