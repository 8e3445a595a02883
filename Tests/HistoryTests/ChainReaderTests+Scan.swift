import DurableIO
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

extension ChainReaderTests {
  func append(_ chunks: [WALChunk], to writer: LineWriter) async throws {
    for chunk in chunks { try await writer.appendChunk(chunk) }
  }

  /// A line that holds all of the WAL, in chunks of random sizes.
  func captured(
    _ wal: WorkloadWAL, _ directory: String, _ random: inout SeededRandom
  ) async throws -> (LocalObjectStore, LineWriter) {
    let store = try LocalObjectStore(root: "\(directory)/s", fileSystem: SystemFileSystem())
    let start = wal.records[0].start
    let writer = try await LineWriter.create(
      testDescription(lineA, start: start), environment: testEnvironment(store, directory))
    try await append(
      try wal.chunks(line: lineA, from: start, to: wal.end, random: &random), to: writer)
    return (store, writer)
  }

  func open(
    _ line: LineID, _ store: any ObjectStore, from: LSN, to: LSN,
    cache: ChainCache = ChainCache(indexBytes: 1 << 20, walBytes: 1 << 20)
  ) async throws -> ChainReader {
    let history = try await LineHistory.open(line, store: store)
    return try await ChainReader.open(
      history, from: from, to: to,
      storage: LayerStorage(store: store, fileSystem: SystemFileSystem()), cache: cache)
  }

  /// Compares chains of `keys` over `[from, to)` with a scan's.
  func compare(
    _ reader: ChainReader, _ keys: [BlockKey], _ scan: Scan, from: LSN, to: LSN,
    _ comment: String
  ) throws {
    let found = try reader.chains(of: keys, from: from, to: to)
    for (key, chain) in zip(keys, found) {
      let expected = WorkloadWAL.chain(of: key, scan.records(of: key), from: from, to: to)
      let same =
        chain.origin == expected.origin && chain.records.count == expected.records.count
        && zip(chain.records, expected.records).allSatisfy { found, scanned in
          found.startLSN == scanned.0.start && found.endLSN == scanned.0.end
            && found.effect == scanned.1
            && Array(chain.bytes[found.range]) == scanned.0.bytes
        }
      #expect(same, "\(comment): \(key) in \(from)-\(to)")
    }
  }

  /// Records by what they concern, so that scanning for many keys ends.
  struct Scan {
    private let records: [WorkloadWAL.Record]
    private var byKey: [BlockKey: [Int]] = [:]
    private var cuts: [RelFileLocator: [Int]] = [:]
    private var databases: [Int] = []
    var keys: [BlockKey] { byKey.keys.sorted() }

    init(_ records: [WorkloadWAL.Record]) {
      self.records = records
      for (index, record) in records.enumerated() {
        for block in record.blocks { byKey[block.key, default: []].append(index) }
        for key in record.cleared { byKey[key, default: []].append(index) }
        for cut in record.cut {
          switch cut {
          case .drop(let locator), .create(let locator, _), .truncate(let locator, _):
            cuts[locator, default: []].append(index)
          case .database: databases.append(index)
          }
        }
      }
    }

    func records(of key: BlockKey) -> [WorkloadWAL.Record] {
      let all = Set((byKey[key] ?? []) + (cuts[key.locator] ?? []) + databases)
      return all.sorted().map { records[$0] }
    }
  }

  func compareAll(
    _ reader: ChainReader, _ records: [WorkloadWAL.Record], _ random: inout SeededRandom,
    _ comment: String
  ) throws {
    let scan = Scan(records)
    let keys = scan.keys
    let (first, last) = (reader.range.lowerBound, reader.range.upperBound)
    try compare(reader, keys, scan, from: first, to: last, comment)
    for _ in 0..<6 {
      let from = records.randomElement(using: &random)!.start
      // Mostly record ends, at times inside a record.
      var to = records.randomElement(using: &random)!.end
      if UInt64.random(in: 0..<3, using: &random) == 0 { to = LSN(to.rawValue - 9) }
      guard from < to, from >= first, to <= last else { continue }
      let some = (0..<200).map { _ in keys.randomElement(using: &random)! }
      try compare(reader, some, scan, from: from, to: to, comment)
      let key = some[0]
      let alone = try reader.chain(of: key, from: from, to: to)
      let batch = try reader.chains(of: [key, key], from: from, to: to)
      #expect(batch.allSatisfy { $0.bytes == alone.bytes && $0.records == alone.records })
    }
    let absent = BlockKey(RelFileLocator(tablespace: 1663, database: 5, relation: 4), block: 7)
    let none = try reader.chain(of: absent, from: first, to: last)
    #expect(none.origin == .base && none.records.isEmpty && none.bytes.isEmpty)
  }

  func touched(
    _ reader: ChainReader, _ records: [WorkloadWAL.Record], from: LSN, to: LSN
  ) throws {
    var found: [BlockKey] = []
    try reader.blocksTouched(from: from, to: to) {
      found.append($0)
      return true
    }
    let expected = Set(
      records.filter { $0.start >= from && $0.start < to }
        .flatMap { $0.blocks.map(\.key) + $0.cleared })
    #expect(found == expected.sorted())
  }
}
