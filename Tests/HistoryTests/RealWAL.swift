import CCRC32C
import Foundation
import PostgresFormat
import TestSupport

@testable import History

/// WAL that a stock server wrote, and what its records say: the oracle for seeking.
struct RealWAL: Sendable {
  struct Record: Sendable {
    var start: LSN
    var end: LSN
    /// Of a commit or abort.
    var time: PostgresTimestamp?
    var isCommit: Bool
    var xid: UInt32
    /// Of the removal of a database's files.
    var droppedDatabase: UInt32?
  }

  var start: LSN
  var bytes: [UInt8]
  /// Those that lie wholly in the bytes.
  var records: [Record]
  var end: LSN { start + UInt64(bytes.count) }

  /// Made once for all tests.
  static let shared = Task {
    try await withTemporaryDirectory { directory in
      try await blocking { try RealWAL.make(in: directory, transactions: 2_000) }
    }
  }

  private static func make(in directory: String, transactions: Int) throws -> RealWAL {
    try make(in: directory) { server in
      try server.psql("CREATE TABLE t (id int PRIMARY KEY, v text)")
      try server.pgbench(["-i", "-q", "-s", "1"])
      try server.pgbench(["-n", "-c", "4", "-t", "\(transactions / 4)"])
      try server.psql("BEGIN; INSERT INTO t VALUES (1, 'x'); ROLLBACK")
      try server.psql("SELECT pg_switch_wal()")
      try server.psql("INSERT INTO t SELECT g, repeat('y', 900) FROM generate_series(10, 3000) g")
    }.withTimesOutOfOrder()
  }

  /// Runs a server in `directory`, works on it, and reads its WAL from the first segment on.
  static func make(
    in directory: String, settings: [String] = [], work: (StockServer) throws -> Void
  ) throws -> RealWAL {
    let server = try StockServer(
      in: "\(directory)/server", settings: ["wal_keep_size=1GB", "autovacuum=off"] + settings)
    try server.start()
    try work(server)
    let end = try server.psql("SELECT pg_current_wal_flush_lsn()")
    try server.stop()
    let directory = "\(server.dataDirectory)/pg_wal"
    let names = try FileManager.default.contentsOfDirectory(atPath: directory)
      .filter { $0.count == 24 }.sorted()
    var bytes: [UInt8] = []
    for name in names {
      bytes += Array(try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(name)")))
    }
    let start = LSN(UInt64(names[0].suffix(8), radix: 16)! * (16 << 20))
    bytes.removeLast(bytes.count - Int(LSN(end)! - start))
    return try RealWAL(start: start, bytes: bytes)
  }

  /// Sets some commits' times back or forth by seconds, as clocks do, and repairs their checksums.
  private func withTimesOutOfOrder() throws -> RealWAL {
    var changed = bytes
    for (number, record) in records.enumerated()
    where record.time != nil && number % 7 == 0
      && record.start.rawValue / 8192 == (record.end.rawValue - 1) / 8192
    {
      let offset = Int(record.start - start)
      changed.withUnsafeMutableBytes { raw in
        let total = Int(raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        let bytes = UnsafeMutableRawBufferPointer(rebasing: raw[offset..<offset + total])
        // Main data of up to 255 bytes: a marker and a length, then the time.
        guard bytes[24] == 0xFF else { return }
        let time = bytes.loadUnaligned(fromByteOffset: 26, as: Int64.self)
        let moved = time + (number % 2 == 0 ? -1 : 1) * Int64(number % 5) * 1_000_000
        bytes.storeBytes(of: moved, toByteOffset: 26, as: Int64.self)
        let body = exzo_crc32c(0, bytes.baseAddress! + 24, total - 24)
        let crc = exzo_crc32c(body, bytes.baseAddress!, 20)
        bytes.storeBytes(of: crc, toByteOffset: 20, as: UInt32.self)
      }
    }
    return try RealWAL(start: start, bytes: changed)
  }

  private init(start: LSN, bytes: [UInt8]) throws {
    self.start = start
    self.bytes = bytes
    records = []
    var reader = WALStreamReader(format: .v15, startingAtPage: start)
    var found: [Record] = []
    let outcome = try reader.feed(bytes, at: start) { record in
      var one = Record(
        start: record.startLSN, end: record.endLSN, time: record.transactionEndTime,
        isCommit: record.commitsTransaction, xid: record.xid)
      if case .databaseDrop(let database, _) = try record.content() {
        one.droppedDatabase = database
      }
      found.append(one)
    }
    records = found
    guard outcome == .needsBytes else {
      throw RealWALFailure(description: "WAL from \(start) ends early: \(outcome)")
    }
  }

  /// Cuts the bytes into chunks of random sizes, most of them inside a record, as capture would.
  func chunks(
    line: LineID, from: LSN, upTo limit: UInt64 = 400_000, random: inout SeededRandom
  ) -> [WALChunk] {
    var chunks: [WALChunk] = []
    var position = from
    var next = records.firstIndex { $0.end > from } ?? records.count
    while position < end {
      let count = min(UInt64.random(in: 1...limit, using: &random), end - position)
      var builder = WALChunkBuilder(
        line: line, timeline: TimelineID(1), systemIdentifier: 42, startLSN: position,
        time: PostgresTimestamp(0))
      let offset = Int(position - start)
      bytes[offset..<offset + Int(count)].withUnsafeBytes { builder.append($0) }
      position = position + count
      while next < records.count, records[next].end <= position {
        let record = records[next]
        builder.observeRecord(start: record.start, end: record.end)
        if let time = record.time {
          builder.observeTransactionEnd(committed: record.isCommit, time: time)
        }
        if let database = record.droppedDatabase {
          builder.observeFileChange(
            .databaseDropped, RelFileLocator(tablespace: 1663, database: database, relation: 0),
            xid: record.xid, lsn: record.start)
        }
        next += 1
      }
      chunks.append(builder.finish())
    }
    return chunks
  }

  /// The end of the last whole record at or below a position.
  func lastEnd(at lsn: LSN) -> LSN? { records.last { $0.end <= lsn }?.end }

  /// The end of the record before the first commit or abort later than a time.
  func end(before time: PostgresTimestamp) -> LSN? {
    guard let index = records.firstIndex(where: { $0.time.map { $0 > time } ?? false })
    else { return records.last?.end }
    return index == 0 ? nil : records[index - 1].end
  }
}

private struct RealWALFailure: Error {
  var description: String
}
