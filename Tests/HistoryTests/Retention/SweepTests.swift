import ObjectStorage
import PostgresFormat
import Synchronization
import TestSupport
import Testing

@testable import History

/// A store whose puts end as a test says.
private final class AnsweringStore: WrappingObjectStore {
  enum Answer {
    case stored
    /// Stored, and the answer is lost.
    case unanswered
  }
  let base = MemoryObjectStore()
  private let answer = Mutex((Answer.stored, part: ""))

  /// - Parameter part: of the keys that it is about.
  func answers(_ answer: Answer, to part: String = "lines/") {
    self.answer.withLock { $0 = (answer, part) }
  }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    let (answer, part) = self.answer.withLock { $0 }
    try await base.put(key, body)
    if answer != .stored, key.name.contains(part) {
      throw ObjectStorageError(.unavailable, operation: "put object", key: key.name)
    }
  }
}

/// What the sweep takes of chunks whose writer was not told that they are stored.
@Suite struct SweepTests {
  private static let start = LSN(0x100_0000)
  private static let grace = Duration.seconds(600)
  private let keys = LineKeys(line: lineA)

  private func sweep(
    _ store: any ObjectStore, _ clock: TestClock, longUnlisted: Set<ObjectKey> = [],
    waiting: Set<ObjectKey> = [], of contents: LineContents? = nil, isRunning: Bool = true
  ) async throws -> (garbage: [ObjectKey], unlisted: Set<ObjectKey>) {
    let contents =
      if let contents { contents } else { try await LineContents.load(lineA, store: store) }
    var sweep = LineSweep(
      contents: contents, neededLayers: [], now: clock.now, grace: Self.grace)
    sweep.longUnlisted = longUnlisted
    sweep.waiting = waiting
    sweep.isRunning = isRunning
    let listed = try await listAll(
      prefix: keys.walPrefix, after: nil, store: store)
    let (garbage, unlisted) = sweep.garbage(listed)
    return (garbage.map(\.key), unlisted)
  }

  /// Of a line with so many chunks of 100 bytes.
  private func writer(
    of chunks: UInt64, _ store: any ObjectStore, _ directory: String, _ clock: TestClock
  ) async throws -> LineWriter {
    let writer = try await LineWriter.create(
      testDescription(lineA), environment: testEnvironment(store, directory, clock: clock))
    for index in 0..<chunks {
      try await writer.appendChunk(
        testChunk(lineA, from: Self.start + 100 * index, count: 100))
    }
    return writer
  }

  /// The line's bytes from its start, each part by the seed of its chunks.
  private func check(_ store: any ObjectStore, _ seeds: [(LSN, UInt64)], end: LSN) async throws {
    let history = try await LineHistory.open(lineA, store: store)
    #expect(await history.gaps().isEmpty)
    #expect(await history.uploadedLSN == end)
    try await expectBytes(history, seeds)
  }

  /// A writer that is gone had chunks on their way that became visible after the next one's manifest.
  @Test func whatComesAfterATakeoverGoesOnceReadersHadTheTimeToLook() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let environment = testEnvironment(store, directory, clock: clock)
      let first = try await LineWriter.create(testDescription(lineA), environment: environment)
      try await first.appendChunk(testChunk(lineA, from: Self.start, count: 100))
      let second = try await LineWriter.resume(lineA, environment: environment)
      try await second.appendChunk(testChunk(lineA, from: Self.start + 100, count: 70, seed: 8))
      let late = keys.wal(await first.takeNumber())
      let chunk = testChunk(lineA, from: Self.start + 100, count: 100)
      try await store.put(
        late, .bytes(chunk.encoded(key: late, level: 1, confirmed: Self.start + 100)))
      try await second.writeManifest()
      let early = try await sweep(store, clock)
      #expect(early.garbage.isEmpty && early.unlisted == [late])
      clock.advance(Self.grace.components.seconds + 1)
      let found = try await sweep(store, clock, longUnlisted: early.unlisted)
      #expect(found.garbage == [late])
      try await store.delete(late)
      try await check(
        store, [(Self.start, 7), (Self.start + 100, 8)], end: Self.start + 170)
    }
  }

  /// A line that wakes often: whatever waited under the writer before goes on waiting while the next one has written no
  /// manifest, and goes once that has.
  @Test func whatWaitsGoesOnWaitingWhenTheLineWakes() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let environment = testEnvironment(store, directory, clock: clock)
      let first = try await LineWriter.create(testDescription(lineA), environment: environment)
      try await first.appendChunk(testChunk(lineA, from: Self.start, count: 100))
      let second = try await LineWriter.resume(lineA, environment: environment)
      try await second.appendChunk(testChunk(lineA, from: Self.start + 100, count: 70, seed: 8))
      let late = keys.wal(await first.takeNumber())
      let chunk = testChunk(lineA, from: Self.start + 100, count: 100)
      try await store.put(
        late, .bytes(chunk.encoded(key: late, level: 1, confirmed: Self.start + 100)))
      try await second.writeManifest()
      #expect(try await sweep(store, clock).unlisted == [late])

      let third = try await LineWriter.resume(lineA, environment: environment)
      let all: Set<ObjectKey> = [late]
      let awake = try await sweep(store, clock, longUnlisted: all, waiting: all)
      #expect(awake.garbage.isEmpty && awake.unlisted == all)
      // The writer may still list what nobody saw unlisted under the one before.
      #expect(try await sweep(store, clock).unlisted.isEmpty)
      try await third.appendChunk(testChunk(lineA, from: Self.start + 170, count: 30))
      try await third.writeManifest()
      #expect(try await sweep(store, clock, longUnlisted: awake.unlisted).garbage == [late])
    }
  }

  /// A chunk is not left behind as long as no manifest is beyond it: its writer may count it still.
  @Test func whatNoManifestIsBeyondStays() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let writer = try await writer(of: 3, store, directory, clock)
      let chunks = await writer.contents.chunks.map { keys.wal($0.number) }
      let middle = try await store.get(chunks[1], range: nil)
      try await store.delete(chunks[1])
      let before = try await LineContents.load(lineA, store: store)
      try await store.put(chunks[1], .bytes(middle))
      clock.advance(2 * Self.grace.components.seconds)
      let found = try await sweep(store, clock, longUnlisted: Set(chunks), of: before)
      #expect(found.garbage.isEmpty)
    }
  }

  /// The writer takes its merge for failed and goes on with the chunks that it merged; whoever reads the store
  /// finds the merged one. The writer's next manifest decides.
  @Test func aMergeWithoutAnAnswerTakesNothingFromItsWriter() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let writer = try await writer(of: 40, store, directory, clock)
      let end = Self.start + 4000
      let small = Set(await writer.contents.chunks.map { keys.wal($0.number) })
      store.answers(.unanswered)
      await #expect(throws: HistoryError.self) {
        try await writer.mergeChunks(olderThan: .zero)
      }
      store.answers(.stored)
      let found = try await sweep(store, clock)
      #expect(found.garbage.isEmpty, "what the writer goes on with")
      #expect(found.unlisted.isEmpty, "it is not for time to say that they go")
      try await check(store, [(Self.start, 7)], end: end)
      // It says what it has: the merged one is what is left.
      try await writer.appendChunk(testChunk(lineA, from: end, count: 100))
      try await writer.writeManifest()
      let said = try await sweep(store, clock)
      #expect(said.garbage.isEmpty && said.unlisted.count == 1)
      #expect(said.unlisted.isDisjoint(with: small))
      let left = try await sweep(store, clock, longUnlisted: said.unlisted)
      #expect(Set(left.garbage) == said.unlisted)
      for key in left.garbage { try await store.delete(key) }
      try await check(store, [(Self.start, 7)], end: end + 100)
    }
  }

  /// Nobody can go on with the merged chunks: they go after the time in which readers look anew.
  @Test func mergedChunksOfALineWithoutAWriterGo() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let writer = try await writer(of: 40, store, directory, clock)
      store.answers(.unanswered)
      await #expect(throws: HistoryError.self) {
        try await writer.mergeChunks(olderThan: .zero)
      }
      let first = try await sweep(store, clock, isRunning: false)
      let later = try await sweep(
        store, clock, longUnlisted: first.unlisted, isRunning: false)
      #expect(first.garbage.isEmpty && !later.garbage.isEmpty)
      #expect(Set(later.garbage) == first.unlisted)
      for key in later.garbage { try await store.delete(key) }
      try await check(store, [(Self.start, 7)], end: Self.start + 4000)
    }
  }

  /// Nothing goes however long it waits; the writer's next manifest lists the small chunks again, and then the
  /// merged ones that it does not list go.
  private func expectTheWriterDecides(
    _ writer: LineWriter, small: Set<ObjectKey>, _ store: AnsweringStore, _ clock: TestClock
  ) async throws {
    let end = Self.start + 4000
    clock.advance(2 * Self.grace.components.seconds)
    let all = Set(
      try await listAll(prefix: keys.walPrefix, after: nil, store: store).map(\.key))
    #expect(!all.isSubset(of: small), "a merged chunk is there")
    let before = try await sweep(store, clock, longUnlisted: all)
    #expect(before.garbage.isEmpty && before.unlisted.isEmpty)
    try await check(store, [(Self.start, 7)], end: end)
    try await writer.appendChunk(testChunk(lineA, from: end, count: 100))
    try await writer.writeManifest()
    let said = try await sweep(store, clock)
    #expect(said.garbage.isEmpty)
    #expect(said.unlisted == all.subtracting(small))
    let left = try await sweep(store, clock, longUnlisted: said.unlisted)
    #expect(Set(left.garbage) == said.unlisted)
    for key in left.garbage { try await store.delete(key) }
    try await check(store, [(Self.start, 7)], end: end + 100)
  }

  /// The chunks that it merged are of the writer before it, which has ended long ago.
  @Test func aMergeWithoutAnAnswerTakesNoFormerWritersChunks() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let first = try await writer(of: 40, store, directory, clock)
      let small = Set(await first.contents.chunks.map { keys.wal($0.number) })
      let second = try await LineWriter.resume(
        lineA, environment: testEnvironment(store, directory, clock: clock))
      clock.advance(2 * Self.grace.components.seconds)
      store.answers(.unanswered)
      await #expect(throws: HistoryError.self) {
        try await second.mergeChunks(olderThan: .zero)
      }
      store.answers(.stored)
      try await expectTheWriterDecides(second, small: small, store, clock)
    }
  }

  /// A writer was killed while its merge was on its way: that becomes visible when the next one has looked.
  @Test func aMergeThatBecomesVisibleAfterATakeoverTakesNothingFromTheWriter() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let first = try await writer(of: 40, store, directory, clock)
      let chunks = await first.contents.chunks
      let merged = try await mergedChunk(chunks, await first.takeNumber(), of: lineA, store)
      let second = try await LineWriter.resume(
        lineA, environment: testEnvironment(store, directory, clock: clock))
      try await store.put(merged.key, .bytes(merged.bytes))
      try await expectTheWriterDecides(
        second, small: Set(chunks.map { keys.wal($0.number) }), store, clock)
    }
  }

  /// The former writer merges and says so in a manifest before it finds that it has been taken over from: the
  /// present one knows neither.
  @Test func aFormerWritersLateManifestTakesNothingFromTheWriter() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let first = try await writer(of: 40, store, directory, clock)
      let small = Set(await first.contents.chunks.map { keys.wal($0.number) })
      let second = try await LineWriter.resume(
        lineA, environment: testEnvironment(store, directory, clock: clock))
      let error = await historyError { try await first.mergeChunks(olderThan: .zero) }
      #expect(error?.code == .fenced)
      #expect(try await LineContents.load(lineA, store: store).manifest?.epoch == first.epoch)
      try await expectTheWriterDecides(second, small: small, store, clock)
    }
  }

  /// A keyframe whose put went unanswered was seen until the next manifest; who chose it meanwhile reads its layer.
  @Test func layersStayAsLongAsTheKeyframeThatNamesThem() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let environment = testEnvironment(store, directory, clock: clock)
      let writer = try await writer(of: 3, store, directory, clock)
      func keyframe(_ epoch: UInt64, at position: UInt64) async throws {
        _ = try await writer.appendKeyframe(
          from: [testEpoch(epoch, blocks: [1], seed: epoch)],
          testParameters(Self.start + position))
      }
      try await keyframe(1, at: 100)
      store.answers(.unanswered, to: keys.keyframePrefix)
      await #expect(throws: HistoryError.self) { try await keyframe(2, at: 200) }
      store.answers(.stored)
      let seen = try await LineContents.load(lineA, store: store).keyframes
      let unanswered = try #require(seen.last)
      let layer = unanswered.layers[0].key(ofObject: 0)
      try await keyframe(2, at: 300)
      try await writer.writeManifest()
      #expect(await writer.contents.keyframes.map(\.number) != seen.map(\.number))

      let collector = HistoryCollector(environment: environment)
      func collect() async throws {
        _ = try await collector.collect([lineA: LineDemand(window: .from(Self.start + 100))])
      }
      try await collect()
      #expect(try await store.size(unanswered.key) != nil)
      #expect(try await store.size(layer) != nil, "the keyframe is still there")
      clock.advance(3601)
      try await collect()
      #expect(try await store.size(unanswered.key) == nil)
      // The next sweep of a line from which nothing else goes.
      clock.advance(6 * 3600)
      try await collect()
      #expect(try await store.size(layer) == nil)
    }
  }
}
