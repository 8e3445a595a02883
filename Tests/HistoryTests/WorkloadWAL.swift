import CCRC32C
import Foundation
import PostgresFormat
import TestSupport

@testable import History

/// WAL of a server under work of every kind, and a plain scan of it: the oracle of block indices.
struct WorkloadWAL: Sendable {
  /// What a record is, found without the code under test.
  struct Record: Sendable {
    var start: LSN
    var end: LSN
    var bytes: [UInt8]
    /// Blocks named, and whether the record makes the page anew.
    var blocks: [(key: BlockKey, startsPage: Bool)]
    /// Blocks of the visibility map that are not named.
    var cleared: [BlockKey]
    var cut: [Cut]
  }

  enum Cut: Sendable {
    case drop(RelFileLocator)
    case database(tablespace: UInt32, database: UInt32)
    case create(RelFileLocator, ForkNumber)
    case truncate(RelFileLocator, Int)
  }

  var start: LSN
  var bytes: [UInt8]
  var records: [Record]
  var end: LSN { start + UInt64(bytes.count) }

  /// Made once for all tests; one with full page images and one without.
  static let withoutImages = Task { try await make("off") }
  static let withImages = Task { try await make("on") }

  private static func make(_ fullPageWrites: String) async throws -> WorkloadWAL {
    try await withTemporaryDirectory { directory in
      let server = try await blocking {
        let server = try StockServer(
          in: "\(directory)/server",
          settings: [
            "wal_keep_size=4GB", "full_page_writes=\(fullPageWrites)", "autovacuum_naptime=1s",
            "max_prepared_transactions=10",
          ])
        try server.start()
        try server.pgbench(["-i", "-q", "-s", "1"])
        return server
      }
      let workloads: [any Workload] = [
        DDLWorkload(), RewriteWorkload(), IndexWorkload(), DatabaseWorkload(), RowLockWorkload(),
      ]
      try await blocking {
        for workload in workloads { try workload.prepare(on: server.connection) }
      }
      _ = try await WorkloadRun(on: server.connection, seed: 7).run(workloads, seconds: 2)
      try await blocking {
        try server.psql("CHECKPOINT")
        try server.pgbench(["-n", "-c", "4", "-t", "500"])
        try server.psql(shorten)
        try server.pgbench(["-n", "-c", "2", "-t", "200"])
      }
      return try await blocking { try read(server) }
    }
  }

  /// A table that vacuum truncates, more than one block of its visibility map included.
  private static let shorten = """
    CREATE TABLE long (id int, v text);
    ALTER TABLE long SET (fillfactor = 10);
    INSERT INTO long SELECT g, repeat('x', 400) FROM generate_series(1, 36000) g;
    VACUUM long;
    UPDATE long SET v = 'y' WHERE id % 100 = 1;
    DELETE FROM long WHERE id > 33000;
    VACUUM (TRUNCATE) long;
    DELETE FROM long WHERE id > 3000;
    VACUUM (TRUNCATE) long;
    INSERT INTO long SELECT g, repeat('z', 400) FROM generate_series(1, 4000) g;
    VACUUM long;
    UPDATE long SET v = 'w' WHERE id % 50 = 1;
    TRUNCATE pgbench_history;
    DROP TABLE long
    """

  private static func read(_ server: StockServer) throws -> WorkloadWAL {
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
    return try WorkloadWAL(start: start, bytes: bytes)
  }

  init(start: LSN, bytes: [UInt8]) throws {
    self.start = start
    self.bytes = bytes
    records = []
    var reader = WALStreamReader(format: .v15, startingAtPage: start)
    var found: [Record] = []
    _ = try reader.feed(bytes, at: start) { found.append(try Record($0)) }
    records = found
  }

  /// The keys that any record touches or clears.
  var keys: [BlockKey] {
    Array(Set(records.flatMap { $0.blocks.map(\.key) + $0.cleared })).sorted()
  }
}

extension WorkloadWAL.Record {
  init(_ view: WALRecordView) throws {
    let heap = view.clearedVisibility
    cleared = [heap.first, heap.second].compactMap(\.self).map {
      BlockKey($0.locator, .visibilityMap, block: $0.block / 32_672)
    }
    start = view.startLSN
    end = view.endLSN
    bytes = Array(view.bytes)
    blocks = view.blockReferences.map {
      (BlockKey($0.locator, $0.fork, block: $0.block), $0.willInit || $0.appliesImage)
    }
    cut = []
    switch try view.content() {
    case .transactionEnd(let end): cut = end.droppedRelations.map { .drop($0) }
    case .databaseDrop(let database, let tablespaces):
      cut = tablespaces.map { .database(tablespace: $0, database: database) }
    case .fileCreate(let locator, let fork): cut = [.create(locator, fork)]
    case .fileTruncate(let locator, let blocks, _): cut = [.truncate(locator, Int(blocks))]
    default: break
    }
  }
}

extension WorkloadWAL {
  /// The chain that a scan of all records finds.
  static func chain(
    of key: BlockKey, _ records: [Record], from: LSN, to: LSN
  ) -> (origin: PageChain.Origin, records: [(Record, PageChain.Effect)]) {
    var origin = PageChain.Origin.base
    var chain: [(Record, PageChain.Effect)] = []
    for record in records where record.start >= from && record.end <= to {
      if let named = record.blocks.first(where: { $0.key == key }) {
        if named.startsPage { (origin, chain) = (.firstRecord, []) }
        chain.append((record, .redo))
      } else if record.cleared.contains(key) {
        chain.append((record, .redo))
      }
      for cut in record.cut {
        switch effect(of: cut, on: key) {
        case .none: break
        case .removed: (origin, chain) = (.removed, [])
        case .map(let heap): chain.append((record, .clearsMap(fromHeapBlock: heap)))
        }
      }
    }
    return (origin, chain)
  }

  private enum CutEffect {
    case none, removed
    case map(UInt32)
  }

  private static func effect(of cut: Cut, on key: BlockKey) -> CutEffect {
    switch cut {
    case .drop(let locator): return locator == key.locator ? .removed : .none
    case .create(let locator, let fork):
      return locator == key.locator && fork == key.fork ? .removed : .none
    case .database(let tablespace, let database):
      let same = key.locator.tablespace == tablespace && key.locator.database == database
      return same ? .removed : .none
    case .truncate(let locator, let blocks):
      guard locator == key.locator else { return .none }
      if key.fork == .main { return key.block >= blocks ? .removed : .none }
      if key.fork == .freeSpaceMap {
        // Two upper pages, and a leaf for 4069 blocks (relations here have no second upper page). An emptied relation
        // has no map as far as the index goes: the server keeps the upper pages, which are hints that nobody redoes.
        let leaves = (blocks + 4068) / 4069
        return blocks == 0 || Int(key.block) >= 2 + leaves ? .removed : .none
      }
      guard key.fork == .visibilityMap else { return .none }
      let (whole, rest) = (blocks / 32_672, blocks % 32_672)
      if key.block > whole || (key.block == whole && rest == 0) { return .removed }
      return key.block == whole ? .map(UInt32(blocks)) : .none
    }
  }

  /// Cuts bytes `[from, to)` into chunks of random sizes, as capture would.
  /// - Parameter isIndexed: answers for each chunk whether it keeps its index.
  func chunks(
    line: LineID, from: LSN, to: LSN, largest: UInt64 = 400_000, random: inout SeededRandom,
    isIndexed: (Int) -> Bool = { _ in true }
  ) throws -> [WALChunk] {
    var chunks: [WALChunk] = []
    var reader = WALStreamReader(format: .v15, startingAtRecord: from)
    var position = from
    while position < to {
      let count = min(UInt64.random(in: 1...largest, using: &random), to - position)
      var builder = WALChunkBuilder(
        line: line, timeline: TimelineID(1), systemIdentifier: 42, startLSN: position,
        time: PostgresTimestamp(0))
      let offset = Int(position - start)
      try bytes[offset..<offset + Int(count)].withUnsafeBytes { bytes in
        builder.append(bytes)
        _ = try reader.feed(bytes, at: position) { record in
          builder.observeRecord(start: record.startLSN, end: record.endLSN)
          try builder.observeBlocks(of: record)
        }
      }
      position = position + count
      var chunk = builder.finish()
      if !isIndexed(chunks.count) { chunk.blockRecords = nil }
      chunks.append(chunk)
    }
    return chunks
  }

  /// The same WAL up to `lsn`; after it records name other blocks, as another line's would.
  func diverging(after lsn: LSN) throws -> WorkloadWAL {
    var changed = bytes
    for record in records
    where record.start >= lsn && !record.blocks.isEmpty
      && record.start.rawValue / 8192 == (record.end.rawValue - 1) / 8192
    {
      let offset = Int(record.start - start)
      changed.withUnsafeMutableBytes { raw in
        let bytes = UnsafeMutableRawBufferPointer(
          rebasing: raw[offset..<offset + record.bytes.count])
        // Header, then id, flags and data length of the first block, then its relation.
        guard bytes[24] == 0, bytes[25] & 0x90 == 0 else { return }
        let block = bytes.loadUnaligned(fromByteOffset: 40, as: UInt32.self)
        bytes.storeBytes(of: block ^ 1, toByteOffset: 40, as: UInt32.self)
        let body = exzo_crc32c(0, bytes.baseAddress! + 24, bytes.count - 24)
        bytes.storeBytes(
          of: exzo_crc32c(body, bytes.baseAddress!, 20), toByteOffset: 20, as: UInt32.self)
      }
    }
    return try WorkloadWAL(start: start, bytes: changed)
  }
}

/// Puts the right CRC into a record's header.
func sealRecord(_ bytes: inout [UInt8]) throws {
  bytes.withUnsafeMutableBytes { bytes in
    let body = exzo_crc32c(0, bytes.baseAddress! + 24, bytes.count - 24)
    bytes.storeBytes(
      of: exzo_crc32c(body, bytes.baseAddress!, 20), toByteOffset: 20, as: UInt32.self)
  }
}
