import Foundation
import PostgresFormat
import TestSupport
import Testing

@testable import History

/// Moments before a `DROP DATABASE` on a quiet server, whose WAL has much of it before its commit.
@Suite struct DropTests {
  private let later = PostgresTimestamp(Int64.max / 2)

  /// What `pg_waldump` calls the first thing that the last drop did, and its commit.
  private func drop(
    _ wal: RealWAL, _ directory: String
  ) throws -> (first: LSN, files: LSN, commit: LSN) {
    let lines = try records(wal, directory)
    let dropped = try #require(
      lines.lastIndex { $0.contains("rmgr: Database") && $0.contains("DROP") })
    let first = try #require(
      lines[..<dropped].lastIndex { $0.contains("INPLACE") && $0.contains("rel 1664/0/1262") })
    let commit = try #require(lines[dropped...].firstIndex { $0.contains("COMMIT") })
    return (try lsn(lines[first]), try lsn(lines[dropped]), try lsn(lines[commit]))
  }

  private func lsn(_ line: Substring) throws -> LSN {
    let rest = try #require(line.range(of: "lsn: ")).upperBound
    return try #require(LSN(String(line[rest...].prefix { $0 != "," })))
  }

  /// As `pg_waldump` tells them.
  private func records(_ wal: RealWAL, _ directory: String) throws -> [Substring] {
    let output = try run([
      "\(StockServer.binaries(major: 15))/pg_waldump", "-p", "\(directory)/server/data/pg_wal",
      "-s", "\(wal.records[0].start)", "-e", "\(wal.end)",
    ]).output
    return output.split(separator: "\n")
  }

  /// WAL of a server that does `work` after a commit.
  private func makeWAL(
    _ directory: String, _ work: @escaping @Sendable (StockServer) throws -> Void
  )
    async throws -> RealWAL
  {
    try await blocking {
      try RealWAL.make(in: directory) { server in
        try server.psql("CREATE TABLE t (v text)")
        try server.psql("CREATE DATABASE gone")
        try server.psql("INSERT INTO t VALUES ('last')")
        try work(server)
      }
    }
  }

  private func open(
    _ wal: RealWAL, _ directory: String, chunks limit: UInt64, merged: Bool
  ) async throws -> LineHistory {
    var random = SeededRandom(limit)
    let store = MemoryObjectStore()
    let start = wal.records[0].start
    let writer = try await LineWriter.create(
      testDescription(lineA, start: start), environment: testEnvironment(store, directory))
    for chunk in wal.chunks(line: lineA, from: start, upTo: limit, random: &random) {
      try await writer.appendChunk(chunk)
    }
    _ = try await writer.appendKeyframe(
      from: [testEpoch(1, blocks: [1], seed: 1)], testParameters(wal.records[10].end))
    if merged {
      var policy = ChunkMergePolicy()
      (policy.shortBytes, policy.sources, policy.longAge) = (1, 10_000, .zero)
      policy.longBytes = wal.end - start
      #expect(try await writer.mergeChunks(olderThan: .zero, policy: policy) > 1)
    }
    return try await LineHistory.open(lineA, store: store)
  }

  private func check(
    _ wal: RealWAL, _ directory: String, chunks limit: UInt64, merged: Bool
  ) async throws {
    let (first, files, commit) = try drop(wal, directory)
    let history = try await open(wal, directory, chunks: limit, merged: merged)
    let dropTime = try #require(wal.records.first { $0.start == commit }?.time)
    let last = try #require(wal.records.last { $0.time != nil && $0.start < commit })
    #expect(last.end <= first)
    // Anywhere between the last commit and the drop's.
    for time in [try #require(last.time), PostgresTimestamp(dropTime.rawValue - 1)] {
      let found = try await history.seek(.time(time), now: later).lsn
      #expect(found == wal.lastEnd(at: first), "chunks of \(limit), merged: \(merged)")
    }
    #expect(try await history.seek(.time(dropTime), now: later).lsn > commit)
    // The timeline knows the removal of the files only.
    let xid = try #require(wal.records.first { $0.start == files }?.xid)
    let told = try await history.databaseDrop(at: files, xid: xid)
    #expect(told.start == first && told.time == dropTime)
    // A position is taken as it is.
    #expect(try await history.seek(.lsn(commit), now: later).lsn == wal.lastEnd(at: commit))
  }

  @Test func aMomentBeforeADropHasTheDatabase() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await makeWAL(directory) { server in
        try server.psql("DROP DATABASE gone")
        try server.psql("INSERT INTO t VALUES ('after')")
      }
      for chunks: UInt64 in [4_000, 40_000, 400_000] {
        try await check(wal, directory, chunks: chunks, merged: false)
        try await check(wal, directory, chunks: chunks, merged: true)
      }
    }
  }

  /// With more WAL since the last commit than is parsed for nothing.
  @Test func aMomentWithinALoadHasTheDatabase() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await makeWAL(directory) { server in
        let session = try PsqlSession(server.connection)
        try session.execute("BEGIN")
        try session.execute("INSERT INTO t SELECT repeat('x', 900) FROM generate_series(1, 7000)")
        try server.psql("DROP DATABASE gone")
        try session.execute("COMMIT")
      }
      let first = try drop(wal, directory).first
      let last = try #require(wal.records.last { $0.time != nil && $0.start < first })
      #expect(first - last.end > 4 << 20)
      try await check(wal, directory, chunks: 900_000, merged: false)
      try await check(wal, directory, chunks: 900_000, merged: true)
    }
  }

  /// What was prepared and told so is part of the moment, whatever was overwritten in `pg_database` before it; a
  /// transaction that was rolled back meanwhile does not count.
  @Test func aMomentKeepsWhatWasPreparedBeforeIt() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await blocking {
        try RealWAL.make(in: directory, settings: ["max_prepared_transactions=5"]) { server in
          try server.psql("CREATE TABLE t (v text)")
          try server.psql("CREATE DATABASE gone")
          try server.psql("VACUUM (FREEZE)", database: "gone")
          try server.psql("BEGIN; INSERT INTO t VALUES ('in doubt'); PREPARE TRANSACTION 'x'")
          try server.psql("INSERT INTO t VALUES ('later')")
          try server.psql("BEGIN; INSERT INTO t VALUES ('never'); ROLLBACK")
          try server.psql("DROP DATABASE gone")
        }
      }
      let lines = try records(wal, directory)
      let prepared = try lsn(try #require(lines.last { $0.contains("PREPARE") }))
      let (first, _, commit) = try drop(wal, directory)
      let history = try await open(wal, directory, chunks: 6_000, merged: false)
      let later = try #require(wal.records.first { $0.isCommit && $0.start > prepared })
      let found = try await history.seek(
        .time(PostgresTimestamp(try #require(later.time).rawValue - 1)), now: self.later)
      #expect(found.lsn > prepared && found.lsn <= later.start)
      let dropTime = try #require(wal.records.first { $0.start == commit }?.time)
      let before = try await history.seek(
        .time(PostgresTimestamp(dropTime.rawValue - 1)), now: self.later)
      #expect(before.lsn == wal.lastEnd(at: first))
    }
  }
}
