import Foundation
import ObjectStorage
import PostgresFormat
import Synchronization
import TestSupport
import Testing
import Volume

@testable import History

/// A store whose puts of chunks wait until they are told how they end.
private final class OrderedStore: WrappingObjectStore {
  enum Outcome: CaseIterable {
    case stored, failed
    /// Stored, but the answer is lost.
    case unanswered
    /// Answered with an error, and visible when ``showLate()`` is called.
    case late
  }
  private struct Waiting {
    var key: ObjectKey
    var body: ObjectBody
    var continuation: CheckedContinuation<Outcome, Never>
  }
  private struct State {
    var waiting: [Waiting] = []
    var late: [(key: ObjectKey, body: ObjectBody)] = []
    var holds = true
  }
  let base = MemoryObjectStore()
  private let state = Mutex(State())

  var held: Int { state.withLock { $0.waiting.count } }

  func end(_ index: Int, _ outcome: Outcome) {
    let waiting = state.withLock { $0.waiting.remove(at: index) }
    waiting.continuation.resume(returning: outcome)
  }

  /// Nothing waits from now on.
  func letGo() {
    state.withLock { $0.holds = false }
    while held > 0 { end(0, .stored) }
  }

  func showLate() async throws {
    let late = state.withLock { state in
      defer { state.late = [] }
      return state.late
    }
    for (key, body) in late { try await base.put(key, body) }
  }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    let outcome = await withCheckedContinuation { continuation in
      let waits = state.withLock { state in
        guard state.holds, key.name.contains("/wal/") else { return false }
        state.waiting.append(Waiting(key: key, body: body, continuation: continuation))
        return true
      }
      if !waits { continuation.resume(returning: .stored) }
    }
    if outcome == .late {
      var body = body
      if case .file(let path) = body {
        body = .bytes(Array(try Data(contentsOf: URL(fileURLWithPath: path))))
      }
      state.withLock { $0.late.append((key, body)) }
    }
    if outcome == .stored || outcome == .unanswered { try await base.put(key, body) }
    if outcome != .stored {
      throw ObjectStorageError(.unavailable, operation: "put object", key: key.name)
    }
  }
}

/// Chunks of a line on their way at once.
@Suite struct ChunksUnderWayTests {
  private static let start = LSN(0x100_0000)

  /// What a reader sees: whole, and not less than what was told to be stored.
  private func check(
    _ history: LineHistory, atLeast told: LSN, seeds: [(LSN, UInt64)]
  ) async throws {
    #expect(await history.gaps().isEmpty)
    let end = await history.uploadedLSN
    #expect(end >= told)
    try await expectBytes(history, seeds)
  }

  /// Gives each chunk until it is stored, as capture does; ends with its task.
  private func send(_ chunk: WALChunk, to writer: LineWriter) -> Task<Void, any Error> {
    Task {
      while true {
        do {
          try await writer.appendChunk(chunk, inTurn: true)
          return
        } catch let error as HistoryError where error.code == .store {
          if await writer.uploadedLSN >= chunk.summary.endLSN { return }
          try Task.checkCancellation()
          await Task.yield()
        }
      }
    }
  }

  private func settle() async throws {
    for _ in 0..<20 { await Task.yield() }
    try await Task.sleep(for: .milliseconds(1))
  }

  @Test(arguments: 0..<40) func readersSeeAWholeBeginningWhateverEndsFirst(
    _ seed: UInt64
  ) async throws {
    try await withTemporaryDirectory { directory in
      let store = OrderedStore()
      let environment = testEnvironment(store, directory, seed: seed)
      var random = SeededRandom(seed)
      let writer = try await LineWriter.create(testDescription(lineA), environment: environment)
      let lasting = try await LineHistory.open(lineA, store: store)
      var (next, tasks, merges) = (Self.start, [Task<Void, any Error>](), [Task<Int, any Error>]())
      var policy = ChunkMergePolicy()
      policy.shortBytes = 12_000
      for _ in 0..<60 {
        if store.held < 4, tasks.count < 40 {
          let count = Int.random(in: 1...3000, using: &random)
          tasks.append(send(testChunk(lineA, from: next, count: count), to: writer))
          next = next + UInt64(count)
        }
        try await settle()
        if store.held > 0, Bool.random(using: &random) {
          let outcome =
            Int.random(in: 0..<3, using: &random) > 0
            ? .stored : OrderedStore.Outcome.allCases.randomElement(using: &random)!
          store.end(Int.random(in: 0..<store.held, using: &random), outcome)
        }
        let told = await writer.uploadedLSN
        if Int.random(in: 0..<4, using: &random) == 0 { try await store.showLate() }
        if Int.random(in: 0..<6, using: &random) == 0 { try await writer.writeManifest() }
        if Int.random(in: 0..<15, using: &random) == 0 {
          let policy = policy
          merges.append(Task { try await writer.mergeChunks(olderThan: .zero, policy: policy) })
        }
        try await lasting.refresh()
        try await check(lasting, atLeast: told, seeds: [(Self.start, 7)])
        let fresh = try await LineHistory.open(lineA, store: store)
        try await check(fresh, atLeast: told, seeds: [(Self.start, 7)])
      }
      if seed % 2 == 0 {
        store.letGo()
        for task in tasks { try await task.value }
        for task in merges { _ = await task.result }
        #expect(await writer.uploadedLSN == next)
        try await store.showLate()
        try await lasting.refresh()
        try await check(lasting, atLeast: next, seeds: [(Self.start, 7)])
        return
      }
      // The machine is gone; what it had on its way comes later, and another server writes other bytes.
      let told = await writer.uploadedLSN
      let second = try await LineWriter.resume(lineA, environment: environment)
      let taken = await second.uploadedLSN
      #expect(taken >= told)
      for task in tasks { task.cancel() }
      store.letGo()
      for task in tasks { _ = await task.result }
      for task in merges { _ = await task.result }
      try await store.showLate()
      for _ in 0..<5 {
        let end = await second.uploadedLSN
        try await second.appendChunk(testChunk(lineA, from: end, count: 900, seed: 8))
      }
      let seeds: [(LSN, UInt64)] = [(Self.start, 7), (taken, 8)]
      try await lasting.refresh()
      try await check(lasting, atLeast: taken + 4500, seeds: seeds)
      try await second.writeManifest()
      let fresh = try await LineHistory.open(lineA, store: store)
      try await check(fresh, atLeast: taken + 4500, seeds: seeds)
    }
  }

  @Test func aMergesNumberIsTakenWhileNothingIsUnderWay() async throws {
    try await withTemporaryDirectory { directory in
      let store = OrderedStore()
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(store, directory))
      let first = send(testChunk(lineA, from: Self.start, count: 10), to: writer)
      while store.held < 1 { await Task.yield() }
      let number = Task { await writer.takeNumberOfMerge() }
      while await writer.mergesWaiting < 1 { await Task.yield() }
      // One that comes now waits for it.
      let second = send(testChunk(lineA, from: Self.start + 10, count: 10), to: writer)
      while await writer.appendWaiters.count < 2 { await Task.yield() }
      #expect(store.held == 1)
      store.end(0, .stored)
      try await first.value
      let taken = await number.value
      while store.held < 1 { await Task.yield() }
      store.end(0, .stored)
      try await second.value
      let numbers = await writer.contents.chunks.map(\.number)
      #expect(numbers.count == 2 && numbers[0] < taken && taken < numbers[1])
    }
  }

  /// Three chunks that set out together and are all stored, none of them listed by a manifest.
  private func together(_ store: OrderedStore, _ directory: String) async throws -> LineWriter {
    let writer = try await LineWriter.create(
      testDescription(lineA), environment: testEnvironment(store, directory))
    let tasks = (0..<3).map {
      send(testChunk(lineA, from: Self.start + 100 * UInt64($0), count: 100), to: writer)
    }
    while store.held < 3 { await Task.yield() }
    store.letGo()
    for task in tasks { try await task.value }
    return writer
  }

  @Test func whatRetentionTookIsNotTakenForWhatIsMissingStill() async throws {
    try await withTemporaryDirectory { directory in
      let store = OrderedStore()
      let writer = try await together(store, directory)
      let chunks = await writer.contents.chunks
      var evictions = LineEvictions()
      evictions.sequence = 1
      evictions.add(chunks[0].startLSN..<chunks[1].endLSN, latestTime: nil)
      try await store.put(
        writer.keys.evictions(1, token: 0), .bytes(evictions.encodedObject(of: lineA)))
      for chunk in chunks[..<2] { try await store.delete(writer.keys.wal(chunk.number)) }
      #expect(
        try await LineContents.load(lineA, store: store).uploadedLSN == chunks[2].endLSN)
    }
  }

  @Test func whatIsDamagedIsNotTakenForWhatIsMissingStill() async throws {
    try await withTemporaryDirectory { directory in
      let store = OrderedStore()
      let writer = try await together(store, directory)
      let chunks = await writer.contents.chunks
      try await store.put(writer.keys.wal(chunks[0].number), .bytes([1, 2, 3]))
      let history = try await LineHistory.open(lineA, store: store)
      #expect(await history.uploadedLSN == chunks[2].endLSN)
      #expect(await history.gaps().map(\.range) == [chunks[0].startLSN..<chunks[0].endLSN])
    }
  }

  /// A keyframe is put when all before it is stored.
  @Test func nothingBelowAKeyframeIsMissingStill() async throws {
    try await withTemporaryDirectory { directory in
      let store = OrderedStore()
      let writer = try await together(store, directory)
      _ = try await writer.appendKeyframe(
        from: [testEpoch(1, blocks: [1], seed: 1)], testParameters(Self.start + 250))
      let lost = await writer.contents.chunks[1]
      try await store.delete(writer.keys.wal(lost.number))
      let contents = try await LineContents.load(lineA, store: store)
      #expect(contents.uploadedLSN == Self.start + 300)
      #expect(contents.countingKeyframes().count == 1)
    }
  }

  /// A chunk that is lost shows as a gap where a chunk after it was put in the knowledge that it was stored.
  @Test func whatWasStoredAndIsLostIsAGap() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(store, directory))
      for _ in 0..<3 {
        let from = await writer.uploadedLSN
        try await writer.appendChunk(testChunk(lineA, from: from, count: 100))
      }
      let lost = await writer.contents.chunks[1]
      try await store.delete(writer.keys.wal(lost.number))
      let history = try await LineHistory.open(lineA, store: store)
      #expect(await history.gaps().map(\.range) == [lost.startLSN..<lost.endLSN])
      #expect(await history.uploadedLSN == lost.endLSN + 100)
    }
  }

  @Test func oneThatWaitsForItsTurnCanBeCancelled() async throws {
    try await withTemporaryDirectory { directory in
      let writer = try await LineWriter.create(
        testDescription(lineA), environment: testEnvironment(MemoryObjectStore(), directory))
      let waiting = Task {
        try await writer.appendChunk(
          testChunk(lineA, from: Self.start + 10, count: 10), inTurn: true)
      }
      while await writer.appendWaiters.isEmpty { await Task.yield() }
      waiting.cancel()
      await #expect(throws: CancellationError.self) { try await waiting.value }
      try await writer.appendChunk(testChunk(lineA, from: Self.start, count: 10))
      #expect(await writer.uploadedLSN == Self.start + 10)
    }
  }
}
