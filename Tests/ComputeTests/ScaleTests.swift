import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import Compute

/// Many files, and files of more than one segment.
@Suite(.serialized, .heavy, .needsPostgres(), .needsFUSE) struct ScaleTests {
  @Test func tenThousandTablesAndCopiesOfADatabaseAreThereInABranch() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot(Engine.workloadSettings)
      try makeTables(1...1000, engine, root)
      for strategy in ["wal_log", "file_copy"] {
        try engine.psql(
          root, "CREATE DATABASE by_\(strategy) TEMPLATE exzodb STRATEGY \(strategy)",
          database: "postgres")
      }
      let copied = try await engine.head(root)
      try makeTables(1001...10_000, engine, root)
      let whole = try await engine.head(root)
      let count = "SELECT count(*), sum(n) FROM all_rows()"
      try await engine.withBranch(of: root, at: copied) { branch, status in
        print("1,000 tables, three times: \(summary(status))")
        for database in ["exzodb", "by_wal_log", "by_file_copy"] {
          #expect(
            try engine.psql(branch, count, database: database) == "1000|500500", "\(database)")
        }
        try engine.psql(branch, "DROP DATABASE by_wal_log", database: "postgres")
      }
      try await engine.withBranch(of: root, at: whole) { branch, status in
        print("10,000 tables: \(summary(status))")
        let found = try engine.psql(branch, count)
        #expect(found == "10000|50005000")
      }
    }
  }

  private func summary(_ status: AgentStatus) -> String {
    status.steps.map { "\($0.name) \(Int($0.milliseconds)) ms" }.joined(separator: ", ")
  }

  /// Each table holds its number.
  private func makeTables(_ range: ClosedRange<Int>, _ engine: Engine, _ line: String) throws {
    try engine.psql(
      line,
      """
      CREATE OR REPLACE FUNCTION all_rows() RETURNS TABLE (n int) LANGUAGE plpgsql AS $$
      DECLARE name text; BEGIN
        FOR name IN SELECT relname FROM pg_class WHERE relname LIKE 'many\\_%' AND relkind = 'r' LOOP
          RETURN QUERY EXECUTE format('SELECT a FROM %I', name);
        END LOOP; END $$
      """)
    for first in stride(from: range.lowerBound, through: range.upperBound, by: 1000) {
      try engine.psql(
        line,
        """
        DO $$ BEGIN FOR i IN \(first)..\(first + 999) LOOP
          EXECUTE format('CREATE TABLE many_%s AS SELECT %s AS a', i, i);
        END LOOP; END $$
        """)
    }
  }

  /// A table of more than 1 GiB with little WAL: one small row to a page.
  @Test(
    .needsDisk(gigabytes: 6),
    .enabled(
      if: ProcessInfo.processInfo.environment["EXZO_TEST_LONG"] == "1",
      "writes several gigabytes: EXZO_TEST_LONG=1"))
  func aTableAcrossTheSegmentBoundaryIsWholeCutAndGrownAgain() async throws {
    try await withEngine { engine in
      let root = try await engine.openRoot()
      let rows = 133_000
      try engine.psql(
        root,
        """
        CREATE TABLE wide (n int, b text) WITH (fillfactor = 10);
        ALTER TABLE wide ALTER b SET STORAGE plain;
        INSERT INTO wide SELECT n, repeat('x', 420) FROM generate_series(1, \(rows)) AS n
        """)
      let pages = try #require(
        Int(try engine.psql(root, "SELECT pg_relation_size('wide') / 8192")))
      try #require(pages > 131_072, "the table has only \(pages) pages")
      let path = try engine.psql(root, "SELECT pg_relation_filepath('wide')")
      let files = engine.fleet.directory(line: root).mountPoint
      #expect(FileManager.default.fileExists(atPath: "\(files)/\(path).1"))
      let full = try await engine.head(root)
      try engine.psql(
        root, "DELETE FROM wide WHERE ctid >= '(100000,0)'; VACUUM (TRUNCATE) wide")
      let cut = try await engine.head(root)
      let left = try engine.psql(root, question)
      #expect(left.hasSuffix("|100000"))
      let all = rows * (rows + 1) / 2
      for (moment, expected) in [(full, "\(rows)|\(all)|\(pages)"), (cut, left)] {
        try await engine.withBranch(of: root, at: moment) { branch, _ in
          #expect(try engine.psql(branch, question) == expected, "at \(moment)")
          // Growing over the boundary again, on a branch.
          try engine.psql(
            branch,
            "INSERT INTO wide SELECT -n, repeat('y', 420) FROM generate_series(1, 40000) AS n")
          #expect(try engine.psql(branch, "SELECT sum(n) FROM wide WHERE n < 0") == "-800020000")
        }
      }
    }
  }

  private let question = "SELECT count(*), sum(n), pg_relation_size('wide') / 8192 FROM wide"
}
