import DurableIO
import Glibc
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

/// What the index finds is what a scan finds.
@Suite(.serialized) struct ChainReaderTests {
  /// A hot page has many thousand records: what is collected of them grows by steps, not with each one.
  @Test func aLongChainIsNotMovedWithEachRecord() async throws {
    let wal = try await WorkloadWAL.withoutImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(5)
      let (store, _) = try await captured(wal, directory, &random)
      let start = wal.records[0].start
      let reader = try await open(lineA, store, from: start, to: wal.end)
      try await blocking {
        let (moves, bytes) = try reader.withSnapshot { snapshot in
          var window = try WALWindow(snapshot, reader.cache)
          var (bytes, base, moves) = ([UInt8](), UnsafeRawPointer?.none, 0)
          for record in wal.records.prefix(10_000) {
            _ = try window.appendRecord(at: record.start, to: &bytes)
            let now = bytes.withUnsafeBytes { $0.baseAddress }
            if now != base { moves += 1 }
            base = now
          }
          return (moves, bytes)
        }
        #expect(moves < 64)
        #expect(bytes == wal.records.prefix(10_000).flatMap(\.bytes))
      }
    }
  }

  @Test(arguments: [false, true]) func findsWhatAScanFinds(images: Bool) async throws {
    let wal = try await (images ? WorkloadWAL.withImages : WorkloadWAL.withoutImages).value
    let kinds = wal.records.reduce(into: (0, 0, 0)) { sums, record in
      sums.0 += record.cleared.count
      sums.1 += record.cut.count
      sums.2 += record.blocks.filter { $0.key.fork == .visibilityMap && $0.key.block > 0 }.count
    }
    #expect(kinds.0 > 100 && kinds.1 > 100 && kinds.2 > 0, "\(kinds)")
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(images ? 3 : 4)
      let (store, writer) = try await captured(wal, directory, &random)
      let start = wal.records[0].start
      let before = try await open(lineA, store, from: start, to: wal.end)
      let seeds = random
      try await blocking {
        var random = seeds
        try compareAll(before, wal.records, &random, "as captured")
        try touched(before, wal.records, from: start, to: wal.end)
      }
      // In two steps: what becomes long is partly copied, partly put together anew.
      var policy = ChunkMergePolicy()
      (policy.shortBytes, policy.copiedBytes) = (2 << 20, 1_300_000)
      (policy.longBytes, policy.longAge) = ((wal.end - start) * 3 / 2, .zero)
      #expect(try await writer.mergeChunks(olderThan: .zero, policy: policy) > 10)
      #expect(try await LineHistory.open(lineA, store: store).chunks.count == 1)
      let merged = try await open(lineA, store, from: start, to: wal.end)
      try await blocking {
        var random = SeededRandom(9)
        // One that was opened before still reads the chunks that are gone, or finds the new ones.
        try compareAll(before, wal.records, &random, "opened before the merge")
        try compareAll(merged, wal.records, &random, "merged")
        let middle = wal.records[wal.records.count / 2].start
        try touched(merged, wal.records, from: middle, to: wal.records.last!.start)
      }
    }
  }

  @Test func longChunksHoldWhatTheirsHeld() async throws {
    let wal = try await WorkloadWAL.withoutImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(6)
      let (store, writer) = try await captured(wal, directory, &random)
      let start = wal.records[0].start
      let before = try await open(lineA, store, from: start, to: wal.end)
      let chunks = try await LineHistory.open(lineA, store: store).chunks
      var policy = ChunkMergePolicy()
      (policy.shortBytes, policy.copiedBytes, policy.sources) = (1, 100_000, 10_000)
      (policy.longBytes, policy.longAge) = ((wal.end - start) / 2, .zero)
      #expect(await writer.isMergeDue(olderThan: .zero, count: .max, policy: policy))
      #expect(await !writer.isMergeDue(olderThan: .seconds(60), count: .max, policy: policy))
      let replaced = try await writer.mergeChunks(olderThan: .zero, policy: policy)
      let history = try await LineHistory.open(lineA, store: store)
      #expect(await history.chunks.count < chunks.count - replaced + 3)
      #expect(await history.gaps().isEmpty)
      #expect(await history.damages.isEmpty)
      let long = try await open(lineA, store, from: start, to: wal.end)
      try await blocking {
        var random = SeededRandom(10)
        try compareAll(before, wal.records, &random, "opened before the merge")
        try compareAll(long, wal.records, &random, "long")
        try touched(long, wal.records, from: start, to: wal.end)
      }
      #expect(await !writer.isMergeDue(olderThan: .zero, count: .max, policy: policy))
    }
  }

  /// Pages that were loaded have a record of their own size each.
  @Test func aLimitOfBytesGivesTheFirstChains() async throws {
    let wal = try await WorkloadWAL.withImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(9)
      let (store, _) = try await captured(wal, directory, &random)
      let start = wal.records[0].start
      let reader = try await open(lineA, store, from: start, to: wal.end)
      try await blocking {
        let keys = Array(Scan(wal.records).keys.prefix(3_000))
        let all = try reader.chains(of: keys, from: start, to: wal.end)
        for limit in [1, 50_000, 2_000_000, .max] {
          let found = try reader.chains(
            of: keys, from: start, to: wal.end, recordLimit: 1 << 40, byteLimit: limit)
          let bytes = found.reduce(0) { $0 + $1.bytes.count }
          #expect(bytes <= limit || found.count == 1)
          #expect(
            limit < .max ? !found.isEmpty && found.count < keys.count : found.count == keys.count)
          for (one, other) in zip(found, all) {
            #expect(one.bytes == other.bytes && one.records == other.records)
          }
        }
      }
    }
  }

  /// Each part of an index would be a request of its own, and a page's chain asks every chunk.
  @Test func afterWarmingAFarStoreIsAskedForNoIndex() async throws {
    let wal = try await WorkloadWAL.withoutImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(8)
      let (store, writer) = try await captured(wal, directory, &random)
      let start = wal.records[0].start
      var policy = ChunkMergePolicy()
      (policy.shortBytes, policy.copiedBytes) = (2 << 20, 1_300_000)
      (policy.longBytes, policy.longAge) = ((wal.end - start) / 3, .zero)
      _ = try await writer.mergeChunks(olderThan: .zero, policy: policy)
      let far = FaultyObjectStore(store, hidesLocalFiles: true)
      let reader = try await open(lineA, far, from: start, to: wal.end, cache: ChainCache())
      try await blocking {
        reader.warm()
        var asked = 0
        repeat {
          asked = far.calls.count
          usleep(300_000)
        } while far.calls.count > asked
        #expect(asked > 0)
        // Neighbours of what is there, which nothing touched: they lie in all parts of the indices.
        let keys = Scan(wal.records).keys.map {
          BlockKey($0.locator, $0.fork, block: $0.block + 1 << 24)
        }
        for chain in try reader.chains(of: keys, from: start, to: wal.end) {
          #expect(chain.records.isEmpty)
        }
        try touched(reader, wal.records, from: start, to: wal.records.last!.start)
        #expect(far.calls.count == asked)
        var random = SeededRandom(11)
        try compareAll(reader, wal.records, &random, "far")
        #expect(far.calls.count > asked)
      }
    }
  }

  @Test func chunksWithoutAnIndexAreParsed() async throws {
    let wal = try await WorkloadWAL.withImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(5)
      let store = MemoryObjectStore()
      let start = wal.records[0].start
      let end = wal.records[wal.records.count / 3].end
      let records = wal.records.filter { $0.end <= end }
      let writer = try await LineWriter.create(
        testDescription(lineA, start: start), environment: testEnvironment(store, directory))
      try await append(
        try wal.chunks(line: lineA, from: start, to: end, random: &random) { $0 % 3 != 1 },
        to: writer)
      for merged in [false, true] {
        if merged { _ = try await writer.mergeChunks(olderThan: .zero) }
        let reader = try await open(lineA, store, from: start, to: end)
        let seeds = random
        try await blocking {
          var random = seeds
          try compareAll(reader, records, &random, "parsed")
          try touched(reader, records, from: start, to: end)
        }
      }
    }
  }

  /// The parent goes on after the branch point, in the same chunk and with other blocks.
  @Test func aChildSeesItsParentUpToTheBranchPoint() async throws {
    let wal = try await WorkloadWAL.withoutImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(6)
      let store = MemoryObjectStore()
      let start = wal.records[0].start
      let environment = testEnvironment(store, directory)
      let branches = [
        wal.records[wal.records.count / 3].end, wal.records[wal.records.count / 2].end,
      ]
      var parent: LineOrigin?
      var lineStart = start
      for (index, line) in [lineA, lineB, lineC].enumerated() {
        let branch = index < 2 ? branches[index] : wal.end
        let other = index < 2 ? try wal.diverging(after: branch) : wal
        if index < 2 { #expect(other.bytes != wal.bytes) }
        let writer = try await LineWriter.create(
          testDescription(line, start: lineStart, parent: parent), environment: environment)
        let stop = min(branch + 3_000_000, wal.end)
        try await append(
          try other.chunks(line: line, from: lineStart, to: stop, random: &random), to: writer)
        _ = try await writer.mergeChunks(olderThan: .zero)
        parent = LineOrigin(
          line: line, branchLSN: branch, base: [],
          tree: testTree())
        lineStart = branch
      }
      let reader = try await open(lineC, store, from: start, to: wal.end)
      let seeds = random
      try await blocking {
        var random = seeds
        try compareAll(reader, wal.records, &random, "grandchild")
        try touched(reader, wal.records, from: start, to: wal.end)
      }
    }
  }

  @Test func missingWALIsAGapAndNeverAShorterChain() async throws {
    let wal = try await WorkloadWAL.withoutImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(8)
      let store = MemoryObjectStore()
      let start = wal.records[0].start
      let end = wal.records[wal.records.count / 4].end
      let writer = try await LineWriter.create(
        testDescription(lineA, start: start), environment: testEnvironment(store, directory))
      try await append(
        try wal.chunks(line: lineA, from: start, to: end, random: &random), to: writer)
      let reader = try await open(lineA, store, from: start, to: end)
      let keys = store.keys.filter { $0.contains("/wal/") }
      let lost = keys[keys.count / 2]
      store[lost] = nil
      // A manifest lists the chunk that is lost, or listing shows the gap.
      for late in [false, true] {
        let error = await historyError {
          let used = late ? reader : try await open(lineA, store, from: start, to: end)
          try await blocking { _ = try used.chains(of: wal.keys, from: start, to: end) }
        }
        #expect(error.map { [.gap, .missing].contains($0.code) } == true)
        #expect(error.map { "\($0)".contains(lost) || $0.code == .gap } == true, "\(error!)")
      }
      let after = await historyError {
        _ = try await open(lineA, store, from: start, to: end + 8)
      }
      #expect(after?.code == .afterEnd)
    }
  }

  /// Any flipped byte of a chunk is an error that names it, or does not matter.
  @Test func damageIsNeverAWrongChain() async throws {
    let wal = try await WorkloadWAL.withoutImages.value
    try await withTemporaryDirectory { directory in
      var random = SeededRandom(10)
      let store = MemoryObjectStore()
      let start = wal.records[0].start
      let end = wal.records[wal.records.count / 8].end
      let records = wal.records.filter { $0.end <= end }
      let writer = try await LineWriter.create(
        testDescription(lineA, start: start), environment: testEnvironment(store, directory))
      try await append(
        try wal.chunks(line: lineA, from: start, to: end, random: &random), to: writer)
      _ = try await writer.mergeChunks(olderThan: .zero)
      let scan = Scan(records)
      let keys = scan.keys
      let history = try await LineHistory.open(lineA, store: store)
      let chunkKeys = store.keys.filter { $0.contains("/wal/") }
      var damaged = 0
      for _ in 0..<150 {
        let key = chunkKeys.randomElement(using: &random)!
        let good = store[key]!
        store[key]![Int.random(in: 0..<good.count, using: &random)] ^= 0x10
        let reader = try await ChainReader.open(
          history, from: start, to: end,
          storage: LayerStorage(store: store, fileSystem: SystemFileSystem()),
          cache: ChainCache())
        let some = (0..<250).map { _ in keys.randomElement(using: &random)! }
        let error = await historyError {
          try await blocking {
            try compare(reader, some, scan, from: start, to: end, "damaged")
          }
        }
        if let error {
          damaged += 1
          #expect(error.key == key, "\(error)")
          #expect([.damaged, .unsupportedVersion, .wrongObject].contains(error.code), "\(error)")
        }
        store[key] = good
      }
      #expect(damaged > 10)
    }
  }
}
