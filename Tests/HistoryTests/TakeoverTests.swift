import ObjectStorage
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import History

@Suite struct TakeoverTests {
  private let start = LSN(0x100_0000)

  private func append(
    _ writer: LineWriter, _ count: Int, seed: UInt64 = 7
  ) async throws {
    let from = await writer.uploadedLSN
    try await writer.appendChunk(
      testChunk(writer.description.id, from: from, count: count, seed: seed))
  }

  private func bytes(_ store: any ObjectStore) async throws -> [UInt8] {
    let history = try await LineHistory.open(lineA, store: store)
    var result: [UInt8] = []
    for try await run in history.readWAL(from: start, to: await history.uploadedLSN) {
      result += run.bytes
    }
    return result
  }

  @Test func resumesWhereTheStoreEnds() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let environment = testEnvironment(store, directory)
      let first = try await LineWriter.create(testDescription(lineA), environment: environment)
      try await append(first, 1000)
      _ = try await first.appendKeyframe(
        from: [testEpoch(1, blocks: [1], seed: 1)], testParameters(start + 500))
      let second = try await LineWriter.resume(lineA, environment: environment)
      #expect(second.epoch == 2)
      #expect(await second.uploadedLSN == start + 1000)
      #expect(await second.nextVolumeEpoch == 2)
      #expect(await second.newestKeyframe?.consistentLSN == start + 500)
      try await append(second, 500)
      #expect(try await bytes(store) == testBytes(from: start, count: 1500))
    }
  }

  @Test func anOldWriterStopsAndItsLateBytesDoNotCount() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let clock = TestClock()
      let environment = testEnvironment(store, directory, clock: clock)
      let old = try await LineWriter.create(testDescription(lineA), environment: environment)
      try await append(old, 1000)
      let new = try await LineWriter.resume(lineA, environment: environment)
      // The old one has looked a moment ago: it still writes, bytes that will not count.
      try await append(old, 700, seed: 99)
      #expect(try await bytes(store) == testBytes(from: start, count: 1000))
      try await append(new, 300)
      #expect(try await bytes(store) == testBytes(from: start, count: 1300))
      let keyframe = await historyError {
        _ = try await old.appendKeyframe(
          from: [testEpoch(1, blocks: [1], seed: 1)], testParameters(start + 500))
      }
      #expect(keyframe?.code == .fenced)
      let chunk = await historyError { try await append(old, 1) }
      #expect(chunk?.code == .fenced)
      #expect(await new.uploadedLSN == start + 1300)
    }
  }

  @Test func anOldWriterStopsWithinTenSeconds() async throws {
    try await withTemporaryDirectory { directory in
      let clock = TestClock()
      let environment = testEnvironment(MemoryObjectStore(), directory, clock: clock)
      let old = try await LineWriter.create(testDescription(lineA), environment: environment)
      _ = try await LineWriter.resume(lineA, environment: environment)
      clock.advance(10)
      #expect(await historyError { try await append(old, 1) }?.code == .fenced)
    }
  }

  @Test func lateKeyframesBeyondATakeoverDoNotCount() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let environment = testEnvironment(store, directory)
      let old = try await LineWriter.create(testDescription(lineA), environment: environment)
      try await append(old, 1000)
      _ = try await old.appendKeyframe(
        from: [testEpoch(1, blocks: [1], seed: 1)], testParameters(start + 500))
      _ = try await old.appendKeyframe(
        from: [testEpoch(2, blocks: [1], seed: 2)], testParameters(start + 1200))
      let new = try await LineWriter.resume(lineA, environment: environment)
      #expect(await new.newestKeyframe?.consistentLSN == start + 500)
      #expect(await new.nextVolumeEpoch == 2)
    }
  }

  @Test func twoThatTakeOverAtOnceGetEpochsOfTheirOwn() async throws {
    try await withTemporaryDirectory { directory in
      for seed: UInt64 in 1...20 {
        let store = MemoryObjectStore()
        let environments = (0..<2).map {
          testEnvironment(store, directory, seed: seed * 10 + UInt64($0))
        }
        _ = try await LineWriter.create(testDescription(lineA), environment: environments[0])
        let epochs = try await withThrowingTaskGroup(of: UInt32?.self) { group in
          for environment in environments {
            group.addTask {
              do {
                return try await LineWriter.resume(lineA, environment: environment).epoch
              } catch let error as HistoryError where error.code == .fenced {
                return nil
              }
            }
          }
          return try await group.reduce(into: [UInt32]()) { if let epoch = $1 { $0.append(epoch) } }
        }
        #expect(!epochs.isEmpty && Set(epochs).count == epochs.count, "seed \(seed): \(epochs)")
      }
    }
  }

  /// Every put fails in turn, before or after it took effect; the caller tries again as capture
  /// does. The line always holds what was acknowledged, and ends complete.
  @Test(arguments: [FaultyObjectStore.Fault.before, .after])
  func anyPutMayFail(fault: FaultyObjectStore.Fault) async throws {
    try await withTemporaryDirectory { directory in
      for failing in 1... {
        let memory = MemoryObjectStore()
        let store = FaultyObjectStore(memory) { call in
          call.operation == .put && call.numberOfOperation == failing ? fault : nil
        }
        try await scenario(store, directory)
        let all = try await bytes(memory)
        #expect(all == testBytes(from: start, count: all.count) && all.count == 3000)
        let history = try await LineHistory.open(lineA, store: memory)
        #expect(await history.keyframes.map(\.consistentLSN) == [start + 500, start + 2500])
        if failing > store.calls.filter({ $0.operation == .put }).count { break }
      }
    }
  }

  private func scenario(_ store: any ObjectStore, _ directory: String) async throws {
    let environment = testEnvironment(store, directory)
    let writer: LineWriter
    do {
      writer = try await LineWriter.create(testDescription(lineA), environment: environment)
    } catch {
      // What was created may be there or not, as after a crash of whoever created it.
      do {
        writer = try await LineWriter.create(testDescription(lineA), environment: environment)
      } catch let error as HistoryError where error.code == .lineExists {
        writer = try await LineWriter.resume(lineA, environment: environment)
      }
    }
    func retry(_ body: () async throws -> Void) async throws {
      do { try await body() } catch let error as HistoryError where error.code == .store {
        try await body()
      }
    }
    for step in 0..<3 {
      let from = await writer.uploadedLSN
      try await retry { try await append(writer, 1000) }
      if step == 1 { continue }
      let number = UInt64(step / 2 + 1)
      try await retry {
        _ = try await writer.appendKeyframe(
          from: [testEpoch(number, blocks: [1, 2], seed: number)],
          testParameters(from + 500))
      }
    }
    try await retry { try await writer.writeManifest() }
  }
}
