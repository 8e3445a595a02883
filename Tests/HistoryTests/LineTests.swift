import DurableIO
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import History

@Suite struct LineTests {
  private let start = LSN(0x100_0000)

  private func bytes(_ history: LineHistory, _ from: LSN, _ to: LSN) async throws -> [UInt8] {
    var result: [UInt8] = []
    for try await run in history.readWAL(from: from, to: to) {
      #expect(run.startLSN == from + UInt64(result.count))
      result += run.bytes
    }
    return result
  }

  /// Appends `count` chunks of `size` bytes where the writer stands.
  private func append(_ writer: LineWriter, _ count: Int, size: Int = 1000) async throws {
    for _ in 0..<count {
      let from = await writer.uploadedLSN
      try await writer.appendChunk(testChunk(writer.description.id, from: from, count: size))
    }
  }

  @Test func walComesBackAsItWent() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(store, directory))
      for size in [1, 700_000, 262_144, 31] { try await append(writer, 1, size: size) }
      let end = await writer.uploadedLSN
      let history = try await LineHistory.open(lineA, store: store)
      #expect(await history.uploadedLSN == end)
      #expect(await history.gaps().isEmpty)
      let all = try await bytes(history, start, end)
      #expect(all == testBytes(from: start, count: all.count))
      for (from, to) in [(0, 1), (1, 2), (262_143, 262_146), (699_990, 962_170), (5, 5)] {
        let found = try await bytes(history, start + UInt64(from), start + UInt64(to))
        #expect(found == Array(all[from..<to]))
      }
      let after = await historyError { _ = try await bytes(history, start, end + 1) }
      #expect(after?.code == .afterEnd)
      #expect(try await HistoryCatalog.listLines(store) == [testDescription(lineA)])
    }
  }

  @Test func refusesChunksThatDoNotFollow() async throws {
    try await withTemporaryDirectory { directory in
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(MemoryObjectStore(), directory))
      for from in [start + 1, LSN(start.rawValue - 1)] {
        let error = await historyError {
          try await writer.appendChunk(testChunk(lineA, from: from, count: 10))
        }
        #expect(error?.code == .notContiguous)
      }
      #expect(await writer.uploadedLSN == start)
    }
  }

  @Test func aLineIsCreatedOnce() async throws {
    try await withTemporaryDirectory { directory in
      let environment = testEnvironment(MemoryObjectStore(), directory)
      _ = try await LineWriter.create(testDescription(lineA), environment: environment)
      let again = await historyError {
        _ = try await LineWriter.create(testDescription(lineA), environment: environment)
      }
      #expect(again?.code == .lineExists)
      let unknown = await historyError {
        _ = try await LineWriter.resume(lineB, environment: environment)
      }
      #expect(unknown?.code == .unknownLine)
    }
  }

  @Test func manifestsReplaceListing() async throws {
    try await withTemporaryDirectory { directory in
      let memory = MemoryObjectStore()
      let store = FaultyObjectStore(memory)
      let environment = testEnvironment(store, directory)
      let writer = try await LineWriter.create(testDescription(lineA), environment: environment)
      try await append(writer, 300)
      let manifests = memory.keys.filter { $0.contains("/manifest/") }
      #expect(manifests.count == 2)
      let before = store.calls.filter { $0.operation == .get }.count
      let history = try await LineHistory.open(lineA, store: store)
      let reads = store.calls.filter { $0.operation == .get }.count - before
      #expect(reads < 64 + 4, "\(reads) objects read to open a line of 300 chunks")
      #expect(await history.chunks.count == 300)
      #expect(await history.uploadedLSN == start + 300_000)
      // The newest manifest is damaged: the one before it serves.
      memory[manifests[1]]?[70] ^= 1
      let again = try await LineHistory.open(lineA, store: memory)
      #expect(await again.uploadedLSN == start + 300_000)
      #expect(await again.damages.map(\.key) == [manifests[1]])
    }
  }

  @Test func readerSurvivesChunkMerging() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let clock = TestClock()
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(store, directory, clock: clock))
      try await append(writer, 40, size: 10_000)
      let history = try await LineHistory.open(lineA, store: store)
      #expect(try await writer.mergeChunks() == 0)
      clock.advance(61)
      try await append(writer, 1, size: 10_000)
      var iterator = history.readWAL(from: start, to: start + 400_000).makeAsyncIterator()
      var found = try #require(try await iterator.next()).bytes
      #expect(try await writer.mergeChunks() == 40)
      #expect(store.keys.filter { $0.contains("/wal/") }.count == 2)
      while let run = try await iterator.next() { found += run.bytes }
      #expect(found == testBytes(from: start, count: 400_000))
      let fresh = try await LineHistory.open(lineA, store: store)
      #expect(await fresh.chunks.count == 2)
      #expect(await fresh.gaps().isEmpty)
      #expect(await fresh.damages.isEmpty)
      let activity = try await fresh.activity(from: start, to: start + 410_000)
      #expect(activity.minutes.map(\.commits).reduce(0, +) == 41)
      #expect(activity.minutes.map(\.walBytes).reduce(0, +) == 410_000)
    }
  }

  @Test func aChunkThatIsStoredSlowlyIsFoundAfterAMergeBesideIt() async throws {
    try await withTemporaryDirectory { directory in
      let memory = MemoryObjectStore()
      let store = HoldingStore(memory)
      let clock = TestClock()
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(store, directory, clock: clock))
      try await append(writer, 40, size: 10_000)
      clock.advance(61)
      store.holdsPuts(of: "/wal/", count: 1)
      let appending = Task { try await append(writer, 1, size: 10_000) }
      while store.held == 0 { try await Task.sleep(for: .milliseconds(1)) }
      let merging = Task { try await writer.mergeChunks() }
      // Time enough for a merge that does not wait.
      try await Task.sleep(for: .milliseconds(300))
      store.release()
      try await appending.value
      #expect(try await merging.value == 40)
      // The machine is lost: whoever comes next knows what the store holds.
      let fresh = try await LineHistory.open(lineA, store: memory)
      #expect(await fresh.uploadedLSN == start + 410_000)
      #expect(await fresh.gaps().isEmpty)
    }
  }

  @Test func missingOrDamagedChunkIsAGapThatNamesItsNeighbours() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(store, directory))
      try await append(writer, 5)
      let keys = store.keys.filter { $0.contains("/wal/") }
      for damage in 0..<2 {
        let copy = store.copy()
        if damage == 0 { copy[keys[2]] = nil } else { copy[keys[2]]?[100] ^= 1 }
        if damage == 1 { copy[keys[2]]?[copy[keys[2]]!.count - 20] ^= 1 }
        let history = try await LineHistory.open(lineA, store: copy)
        let gaps = await history.gaps()
        #expect(gaps.map(\.range) == [start + 2000..<start + 3000])
        #expect(gaps.first?.before == keys[1] && gaps.first?.after == keys[3])
        let error = await historyError { _ = try await bytes(history, start, start + 5000) }
        #expect(error?.code == .gap && error?.lsn == start + 2000)
        #expect(error.map { "\($0)".contains(keys[1]) && "\($0)".contains(keys[3]) } == true)
        if damage == 1 { #expect(await history.damages.map(\.key) == [keys[2]]) }
      }
      // Damage that only reading the bytes shows.
      store[keys[2]]?[80] ^= 1
      let history = try await LineHistory.open(lineA, store: store)
      let error = await historyError { _ = try await bytes(history, start, start + 5000) }
      #expect(error?.code == .damaged && error?.key == keys[2])
    }
  }
}

extension LineTests {
  /// What was appended is durable, so its caller must not give it again.
  @Test func aManifestThatFailsFailsNoAppend() async throws {
    try await withTemporaryDirectory { directory in
      let memory = MemoryObjectStore()
      let store = FaultyObjectStore(memory) { call in
        call.operation == .put && call.key.contains("/manifest/") ? .before : nil
      }
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(store, directory))
      for _ in 0..<70 {
        let from = await writer.uploadedLSN
        try await writer.appendChunk(testChunk(lineA, from: from, count: 10))
      }
      #expect(await writer.manifestFailure != nil)
      store.setRule(nil)
      for _ in 0..<20 {
        let from = await writer.uploadedLSN
        try await writer.appendChunk(testChunk(lineA, from: from, count: 10))
      }
      #expect(await writer.manifestFailure == nil)
      #expect(memory.keys.contains { $0.contains("/manifest/") })
    }
  }
}
