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
  private let answer = Mutex(Answer.stored)

  func answers(_ answer: Answer) { self.answer.withLock { $0 = answer } }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    let answer = answer.withLock { $0 }
    try await base.put(key, body)
    if answer != .stored {
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
    of contents: LineContents? = nil
  ) async throws -> (garbage: [ObjectKey], unlisted: Set<ObjectKey>) {
    let contents =
      if let contents { contents } else { try await LineContents.load(lineA, store: store) }
    var sweep = LineSweep(
      contents: contents, neededLayers: [], now: clock.now, grace: Self.grace)
    sweep.longUnlisted = longUnlisted
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
  @Test func whatComesAfterATakeoverGoesOnceItsWriterMustHaveEnded() async throws {
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
      let found = try await sweep(store, clock)
      #expect(found.garbage == [late])
      try await store.delete(late)
      try await check(
        store, [(Self.start, 7), (Self.start + 100, 8)], end: Self.start + 170)
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
      #expect(!found.unlisted.isEmpty && found.unlisted.isSubset(of: small))
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

  /// Nobody goes on with the merged chunks: they go after the time in which a writer would have said so.
  @Test func mergedChunksOfAnEndedWriterGo() async throws {
    try await withTemporaryDirectory { directory in
      let (store, clock) = (AnsweringStore(), TestClock())
      let writer = try await writer(of: 40, store, directory, clock)
      store.answers(.unanswered)
      await #expect(throws: HistoryError.self) {
        try await writer.mergeChunks(olderThan: .zero)
      }
      let first = try await sweep(store, clock)
      let later = try await sweep(store, clock, longUnlisted: first.unlisted)
      #expect(first.garbage.isEmpty && !later.garbage.isEmpty)
      #expect(Set(later.garbage) == first.unlisted)
      for key in later.garbage { try await store.delete(key) }
      try await check(store, [(Self.start, 7)], end: Self.start + 4000)
    }
  }
}
