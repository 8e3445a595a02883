import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

/// The index of one chunk: encoding, decoding, cuts.
@Suite struct BlockIndexTests {
  private let base = LSN(0x100_0000)
  private func locator(_ relation: UInt32) -> RelFileLocator {
    RelFileLocator(tablespace: 1663, database: 5, relation: relation)
  }

  /// Random records, some blocks far hotter than a run or a part holds.
  private func makeRecords(
    _ count: Int, _ random: inout SeededRandom
  ) -> (BlockRecords, [BlockKey: [LSN: Bool]]) {
    var records = BlockRecords()
    var expected: [BlockKey: [LSN: Bool]] = [:]
    for number in 0..<count {
      let lsn = base + UInt64(number) * 8
      records.beginRecord(at: lsn)
      for _ in 0..<Int.random(in: 0...3, using: &random) {
        let hot = UInt64.random(in: 0..<4, using: &random) == 0
        let key = BlockKey(
          locator(hot ? 7 : UInt32.random(in: 1...90, using: &random)),
          hot ? .main : ForkNumber.allCases.randomElement(using: &random)!,
          block: hot
            ? 3
            : UInt32.random(in: 0...(.max), using: &random)
              >> UInt32.random(in: 0..<32, using: &random))
        let starts = UInt64.random(in: 0..<5, using: &random) == 0
        records.add(key.locator, key.fork, block: key.block, lsn: lsn, startsPage: starts)
        expected[key, default: [:]][lsn] = starts || expected[key]?[lsn] == true
      }
    }
    return (records, expected)
  }

  private func decode(_ encoded: EncodedBlockIndex) throws -> (BlockFence, [BlockIndexPart]) {
    let parts = try encoded.parts.map { part in
      try part.withUnsafeBytes { try BlockIndexPart(encoded: $0, units: 1 << 31, key: "k") }
    }
    return (try BlockFence(encoded: encoded.fence, key: "k"), parts)
  }

  private func expect(
    _ encoded: EncodedBlockIndex, _ expected: [BlockKey: [LSN: Bool]]
  ) throws {
    let (fence, parts) = try decode(encoded)
    #expect(fence.firstKeys.count == parts.count)
    for (key, records) in expected {
      var found: [LSN: Bool] = [:]
      var last: LSN?
      for number in fence.parts(holding: key) {
        for run in parts[number].runs(of: key) {
          for position in parts[number].positions(ofRun: run) {
            let lsn = position.lsn(base: base)
            #expect(last.map { $0 < lsn } ?? true)
            last = lsn
            found[lsn] = position.startsPage
          }
        }
      }
      #expect(found == records, "\(key)")
    }
    #expect(
      parts.reduce(0) { $0 + $1.positions.count } == expected.values.reduce(0) { $0 + $1.count })
  }

  @Test func whatWentInComesOut() throws {
    for (seed, count) in [(1, 0), (2, 1), (3, 40), (4, 900), (5, 30_000)] {
      var random = SeededRandom(UInt64(seed))
      let (records, expected) = makeRecords(count, &random)
      for partSize in [40, 1000, BlockRecords.partSize] {
        try expect(records.encoded(base: base, partSize: partSize), expected)
      }
    }
  }

  /// A chunk of records that each take 8 bytes, in memory.
  private func chunk(_ records: BlockRecords, _ range: Range<LSN>) throws -> OpenWALChunk {
    var builder = WALChunkBuilder(
      line: lineA, timeline: TimelineID(1), systemIdentifier: 42, startLSN: range.lowerBound,
      time: PostgresTimestamp(1))
    let bytes = testBytes(from: range.lowerBound, count: Int(range.upperBound - range.lowerBound))
    bytes.withUnsafeBytes { builder.append($0) }
    builder.observeRecord(start: range.lowerBound, end: range.upperBound)
    builder.observeTransactionEnd(committed: true, time: PostgresTimestamp(1))
    var chunk = builder.finish()
    chunk.blockRecords = records
    let key = ObjectKey("chunk-\(range.lowerBound.rawValue)")
    return try OpenWALChunk(
      MemoryObjectBytes(key: key, bytes: chunk.encoded(key: key)), expected: chunk.summary)
  }

  @Test(arguments: [0, .max] as [UInt64])
  func mergedChunkIsThatOfTheWhole(copiedBytes: UInt64) throws {
    var random = SeededRandom(11)
    let (all, expected) = makeRecords(5_000, &random)
    var sources: [OpenWALChunk] = []
    for start in stride(from: 0, to: 5_000, by: 700) {
      var part = BlockRecords()
      let range = base + UInt64(start) * 8..<base + UInt64(min(start + 700, 5_000)) * 8
      part.beginRecord(at: range.lowerBound)
      for entry in all.entries {
        let lsn = entry.position.lsn(base: base)
        guard range.contains(lsn) else { continue }
        let relation = all.relations[Int(entry.slot)]
        part.add(
          relation.locator, relation.fork, block: entry.block, lsn: lsn,
          startsPage: entry.position.startsPage)
      }
      part.add(BlockCut(locator: locator(3), forks: .all, mainBlocks: 3, lsn: range.lowerBound))
      sources.append(try chunk(part, range))
    }
    let key = ObjectKey("merged")
    var bytes: [UInt8] = []
    let result = try WALChunkMerge(sources: sources, key: key, copiedBytes: copiedBytes) {
      bytes += Array($0)
    }.run()
    #expect(result.size == UInt64(bytes.count))
    let merged = try OpenWALChunk(
      MemoryObjectBytes(key: key, bytes: bytes), expected: result.summary)
    #expect(merged.summary.commits == 8)
    let wal = try merged.map.parts.flatMap { try merged.envelope.read($0) }
    #expect(wal == testBytes(from: base, count: 40_000))
    let index = try #require(merged.index)
    #expect(index.cuts.count == 8)
    var encoded = all.encoded(base: base)
    let parts = try index.parts.map { try merged.envelope.read($0) }
    #expect(parts == encoded.parts)
    #expect(index.fence == (try BlockFence(encoded: encoded.fence, key: "k")))
    encoded.parts = parts
    try expect(encoded, expected)
  }

  @Test func damagedPartsNeverTrap() throws {
    var random = SeededRandom(12)
    let (records, _) = makeRecords(3_000, &random)
    var withCuts = records
    for number in 0..<20 {
      withCuts.add(
        BlockCut(
          locator: locator(UInt32(number)), forks: .all, mainBlocks: 3,
          lsn: base + UInt64(number) * 8))
    }
    let encoded = withCuts.encoded(base: base, partSize: 600)
    var refused = 0
    for round in 0..<20_000 {
      var bytes =
        switch round % 4 {
        case 0: encoded.fence
        case 1: encoded.cuts
        default: encoded.parts.randomElement(using: &random)!
        }
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8(
          truncatingIfNeeded: random.next())
      }
      if round % 5 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
      if round % 7 == 0 { bytes = (0..<200).map { _ in UInt8(truncatingIfNeeded: random.next()) } }
      if try isRefused(bytes, kind: round % 4) { refused += 1 }
    }
    #expect(refused > 5_000)
  }

  /// Decodes bytes that may be damaged.
  private func isRefused(_ bytes: [UInt8], kind: Int) throws -> Bool {
    do {
      switch kind {
      case 0: _ = try BlockFence(encoded: bytes, key: "k")
      case 1: _ = try BlockCut.decode(bytes, records: base..<base + 8000, key: "k")
      default:
        let part = try bytes.withUnsafeBytes {
          try BlockIndexPart(encoded: $0, units: 5_000, key: "k")
        }
        #expect(part.positions.allSatisfy { $0.units < 5_000 })
        #expect(part.starts.count == part.blocks.count + 1)
        _ = part.runs(of: BlockKey(locator(7), block: 3))
      }
      return false
    } catch let error as HistoryError {
      #expect(error.code == .damaged && error.key == "k")
      return true
    }
  }

  @Test func anImageForConsistencyChecksStartsNoPage() throws {
    // A record of one block with an image: applied, and for checks only.
    for applies in [true, false] {
      var reference = [UInt8](repeating: 0, count: 0)
      reference += [0, 0x10, 0, 0]  // id, flags: has image, no data
      reference += [0, 32, 0, 0, applies ? 0x02 : 0x00]  // 8192 bytes, no hole
      for number: UInt32 in [1663, 5, 7, 3] {
        withUnsafeBytes(of: number.littleEndian) { reference += Array($0) }
      }
      var bytes = [UInt8](repeating: 0, count: 24) + reference
      bytes += [UInt8](repeating: 1, count: 8192)
      bytes[17] = 10
      withUnsafeBytes(of: UInt32(bytes.count).littleEndian) {
        bytes.replaceSubrange(0..<4, with: Array($0))
      }
      try sealRecord(&bytes)
      var records = BlockRecords()
      try bytes.withUnsafeBytes {
        try WALRecordView.withRecord(
          $0, startLSN: base + 40, endLSN: base + 9000, format: .v15
        ) { view in
          records.beginRecord(at: view.startLSN)
          try records.add(view)
        }
      }
      #expect(records.entries.map(\.position.startsPage) == [applies])
    }
  }

  @Test func cutsKeepWhatLiesBelow() {
    func cut(_ blocks: UInt32, _ forks: BlockCut.Forks = .all) -> BlockCut {
      BlockCut(locator: locator(1), forks: forks, mainBlocks: blocks, lsn: base)
    }
    func effect(_ cut: BlockCut, _ fork: ForkNumber, _ block: UInt32) -> BlockCut.Effect {
      cut.effect(on: BlockKey(locator(1), fork, block: block))
    }
    #expect(effect(cut(10), .main, 9) == .none)
    #expect(effect(cut(10), .main, 10) == .removesBlock)
    #expect(effect(cut(10), .visibilityMap, 0) == .clearsMap(fromHeapBlock: 10))
    #expect(effect(cut(10), .visibilityMap, 1) == .removesBlock)
    #expect(effect(cut(32_672), .visibilityMap, 0) == .none)
    #expect(effect(cut(32_672), .visibilityMap, 1) == .removesBlock)
    #expect(effect(cut(32_673), .visibilityMap, 1) == .clearsMap(fromHeapBlock: 32_673))
    #expect(effect(cut(0), .visibilityMap, 0) == .removesBlock)
    #expect(effect(cut(0, BlockCut.Forks(.main)), .visibilityMap, 0) == .none)
    #expect(BlockCut.length(of: .freeSpaceMap, mainBlocks: 0) == 0)
    #expect(BlockCut.length(of: .freeSpaceMap, mainBlocks: 1) == 3)
    #expect(BlockCut.length(of: .freeSpaceMap, mainBlocks: 4069) == 3)
    #expect(BlockCut.length(of: .freeSpaceMap, mainBlocks: 4070) == 4)
  }

  @Test func boundedCacheKeepsWhatWasUsedLast() {
    let cache = BoundedCache<Int, Int>(limit: 30)
    var made: [Int] = []
    func value(_ key: Int) -> Int {
      cache.value(
        key, cost: { _ in 10 },
        make: {
          made.append(key)
          return key * 2
        })
    }
    for key in [1, 2, 3, 1, 4, 1, 2] { #expect(value(key) == key * 2) }
    #expect(made == [1, 2, 3, 4, 2])
    #expect(cache.cost == 30)
    for key in 10..<1000 { _ = value(key) }
    #expect(cache.cost == 30)
    let single = BoundedCache<Int, Int>(limit: 5)
    #expect(single.value(1, cost: { _ in 10 }, make: { 7 }) == 7)
    #expect(single.value(2, cost: { _ in 10 }, make: { 8 }) == 8)
    #expect(single.cost == 10)
  }
}
