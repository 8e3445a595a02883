import Foundation
import PostgresFormat
import TestSupport

@testable import PageRedo

/// What a stretch of WAL does to each page: the records that touch it, in order.
struct PageHistory {
  /// A record's place in ``bytes``.
  struct Record {
    var start: LSN
    var end: LSN
    var offset: Int
    var length: Int
    var manager: ResourceManager
  }

  /// A page's records since it last came to be.
  struct Chain {
    var records: [Int] = []
    /// The page was cut off or dropped meanwhile: what it was before says nothing.
    var startsEmpty = false
    /// A record brings the whole page, whatever it was before.
    var isRestarted = false
  }

  var bytes: [UInt8] = []
  var records: [Record] = []
  var chains: [PageTarget: Chain] = [:]
  var checkpoints: [LSN] = []
  /// Databases copied as files: what their pages begin with is not in WAL.
  var copiedDatabases: Set<UInt32> = []
  /// Maps cut off by a truncation, which WAL describes without naming their blocks.
  var truncatedMaps: Set<RelFileLocator> = []

  /// Reads the WAL that a stopped server left in `directory/pg_wal`, from a record boundary to its
  /// end.
  init(pgWAL directory: String, from start: LSN) throws {
    var reader = WALStreamReader(format: .v15, startingAtRecord: start)
    var position = start
    while true {
      let segment = WALSegment(timeline: TimelineID(1), containing: position)
      let path = "\(directory)/\(segment.fileName)"
      guard FileManager.default.fileExists(atPath: path) else { return }
      let file = try readFile(path)
      let outcome = try file[Int(position - segment.startLSN)...].withUnsafeBytes { bytes in
        try reader.feed(bytes, at: position) { try add($0) }
      }
      if case .endOfWAL = outcome { return }
      position = segment.endLSN
    }
  }

  mutating func add(_ view: WALRecordView) throws {
    try apply(view.content(), at: view.startLSN)
    var targets: [PageTarget] = []
    for block in view.blockReferences where block.fork != .freeSpaceMap {
      targets.append(PageTarget(locator: block.locator, fork: block.fork, block: block.block))
    }
    let cleared = view.clearedVisibility
    for block in [cleared.first, cleared.second].compactMap({ $0 }) {
      targets.append(
        PageTarget(
          locator: block.locator, fork: .visibilityMap,
          block: ClearedVisibility.mapBlock(ofHeapBlock: block.block)))
    }
    guard !targets.isEmpty else { return }
    let index = records.count
    records.append(
      Record(
        start: view.startLSN, end: view.endLSN, offset: bytes.count, length: view.totalLength,
        manager: view.resourceManager))
    bytes += view.bytes
    for target in targets where chains[target]?.records.last != index {
      chains[target, default: Chain()].records.append(index)
    }
    for block in view.blockReferences where block.startsPage && block.fork != .freeSpaceMap {
      let target = PageTarget(locator: block.locator, fork: block.fork, block: block.block)
      chains[target]?.isRestarted = true
    }
  }

  private mutating func apply(_ content: WALRecordContent, at lsn: LSN) {
    switch content {
    case .checkpoint: checkpoints.append(lsn)
    case .transactionEnd(let end):
      let dropped = Set(end.droppedRelations)
      if !dropped.isEmpty { forget { dropped.contains($0.locator) } }
    case .fileTruncate(let locator, let blocks, let forks):
      if forks.contains(.main) {
        forget { $0.locator == locator && $0.fork == .main && $0.block >= blocks }
      }
      if forks.contains(.visibilityMap) { truncatedMaps.insert(locator) }
    case .databaseDrop(let database, _): forget { $0.locator.database == database }
    case .databaseCreateByFileCopy(let to, _): copiedDatabases.insert(to.database)
    default: break
    }
  }

  private mutating func forget(_ isGone: (PageTarget) -> Bool) {
    for target in chains.keys where isGone(target) {
      chains[target] = Chain(records: [], startsEmpty: true)
    }
  }

  /// Pages whose chain this test can judge.
  var judged: [PageTarget] {
    chains.filter { target, chain in
      !chain.records.isEmpty && !copiedDatabases.contains(target.locator.database)
        && !(target.fork == .visibilityMap && truncatedMaps.contains(target.locator))
    }.keys.sorted {
      ($0.locator, $0.fork, $0.block) < ($1.locator, $1.fork, $1.block)
    }
  }

  /// Adds a page's request to a batch.
  func append(
    _ target: PageTarget, base: [UInt8]?, to batch: RedoBatch, options: PageOptions = .checksums
  ) throws {
    let chain = chains[target]!
    if let base, !chain.startsEmpty {
      _ = base.withUnsafeBytes { batch.begin(target, base: $0, options: options) }
    } else {
      batch.begin(target, base: nil, options: options)
    }
    for index in chain.records { try append(record: index, to: batch) }
  }

  func append(record index: Int, to batch: RedoBatch) throws {
    let record = records[index]
    try bytes.withUnsafeBytes { all in
      try batch.append(
        record: UnsafeRawBufferPointer(
          rebasing: all[record.offset..<(record.offset + record.length)]),
        startLSN: record.start, endLSN: record.end)
    }
  }
}

/// A stretch of work on a stock cluster: its pages before, the WAL, and its pages after a stock
/// server replayed that WAL over them.
///
/// Replay, not the server that did the work, is the oracle: hint bits, a sequence's values written
/// ahead, SP-GiST's memory of free pages and the like differ between the two, and page redo is to
/// give what replay gives, byte for byte.
struct PageOracle {
  var before: PageFiles
  var after: PageFiles
  var history: PageHistory

  /// Makes a cluster below `directory`, prepares it, keeps a copy, works on it, and replays.
  static func make(
    in directory: String, settings: [String], checksums: Bool = true,
    prepare: (StockServer) throws -> Void, work: (StockServer) async throws -> Void
  ) async throws -> PageOracle {
    let server = try StockServer(
      in: directory,
      settings: ["wal_keep_size=8GB", "max_wal_size=8GB", "checkpoint_timeout=1h"] + settings)
    if !checksums {
      try run(
        ["\(server.binaries)/pg_checksums", "--disable", "-D", server.dataDirectory],
        asPostgresUser: true)
    }
    try server.start()
    try prepare(server)
    try server.stop()
    let copy = "\(directory)/before"
    try run(["cp", "-a", "--reflink=auto", server.dataDirectory, copy])
    try server.start()
    try await work(server)
    try server.stop()
    let wal = "\(server.dataDirectory)/pg_wal"
    let control = try ControlFile(readFile("\(copy)/global/pg_control"), major: .v15)
    try replay(wal, over: copy, in: "\(directory)/replayed")
    return PageOracle(
      before: PageFiles(copy), after: PageFiles("\(directory)/replayed/data"),
      history: try PageHistory(pgWAL: wal, from: control.checkpointLSN))
  }

  /// Crash recovery of a copy of `data` over all of `wal`.
  private static func replay(_ wal: String, over data: String, in directory: String) throws {
    try StockServer.makeOwnedDirectory(directory)
    try run(["cp", "-a", "--reflink=auto", data, "\(directory)/data"])
    try run(["rm", "-r", "\(directory)/data/pg_wal"])
    try run(["cp", "-a", wal, "\(directory)/data/pg_wal"])
    let path = "\(directory)/data/global/pg_control"
    var control = try ControlFile(readFile(path), major: .v15)
    control.state = .inProduction
    try Data(control.bytes).write(to: URL(fileURLWithPath: path))
    let server = try StockServer(adopting: directory, settings: ["autovacuum=off"])
    try server.start()
    try server.stop()
  }
}
