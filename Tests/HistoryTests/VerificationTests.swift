import ObjectStorage
import PostgresFormat
import Synchronization
import TestSupport
import Testing
import Volume

@testable import History

@Suite struct VerificationTests {
  /// A line with a server's WAL, keyframes and layers.
  private func makeLine(
    _ wal: RealWAL, _ store: any ObjectStore, _ directory: String
  ) async throws -> LineWriter {
    var random = SeededRandom(3)
    let start = wal.records[0].start
    let writer = try await LineWriter.create(
      testDescription(lineA, start: start), environment: testEnvironment(store, directory))
    for chunk in wal.chunks(line: lineA, from: start, random: &random) {
      try await writer.appendChunk(chunk)
    }
    for (number, position) in [wal.records[10].end, wal.records[3000].end].enumerated() {
      _ = try await writer.appendKeyframe(
        from: [testEpoch(UInt64(number + 1), blocks: [1, 2, 3], seed: 5)], testParameters(position))
    }
    return writer
  }

  private func verify(
    _ store: any ObjectStore, moments: [LSN] = []
  ) async throws -> LineVerifier.Report {
    try await LineVerifier(store: store).verify(lineA, moments: moments, windowStart: nil)
  }

  private func objects(_ store: MemoryObjectStore) async throws -> [ObjectListing] {
    try await store.list(prefix: "lines/", after: nil, limit: 10_000)
  }

  @Test func aWholeLineHasNoProblem() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      let store = MemoryObjectStore()
      _ = try await makeLine(wal, store, directory)
      let read = Mutex<UInt64>(0)
      let verifier = LineVerifier(store: store) { bytes in read.withLock { $0 += bytes } }
      let report = try await verifier.verify(
        lineA, moments: [wal.records[20].end, wal.records[4000].end], windowStart: nil)
      #expect(report.problems == [])
      let listed = try await objects(store)
      #expect(report.objects == listed.count)
      #expect(report.bytes == listed.reduce(0) { $0 + $1.size })
      #expect(report.moments == 3)
      #expect(read.withLock { $0 } > UInt64(wal.bytes.count))
    }
  }

  /// Some objects of each kind, at their beginning, middle and end; cut short, and emptied. Fewer of sealed ones, which
  /// take longer to read.
  @Test(arguments: [false, true]) func everyDamageIsNoticedAndNamed(isSealed: Bool) async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      let place = try SealablePlace(directory, isSealed: isSealed)
      _ = try await makeLine(wal, try await place.open(), directory)
      let kinds = Dictionary(grouping: try await place.objects()) { object in
        object.name.split(separator: "/").dropFirst(2).first ?? ""
      }
      for object in kinds.values.flatMap({ isSealed ? [$0[0]] : [$0[0], $0[$0.count / 2]] }) {
        let bytes = try #require(place.base[object.stored])
        var harm: [(what: String, bytes: [UInt8])] = [
          ("cut short", Array(bytes.dropLast(bytes.count / 3))), ("emptied", []),
        ]
        let middle = bytes.count / 2
        for offset in isSealed ? [70, middle] : [0, 70, middle, bytes.count - 90, bytes.count - 1] {
          guard bytes.indices.contains(offset) else { continue }
          var damaged = bytes
          damaged[offset] ^= 0x04
          harm.append(("at \(offset)", damaged))
        }
        for (what, damaged) in harm {
          place.base[object.stored] = damaged
          let problems = try await verify(try await place.open()).problems
          #expect(problems.contains { $0.contains(object.name) }, "\(object.name) \(what)")
        }
        place.base[object.stored] = bytes
      }
      #expect(try await verify(try await place.open()).problems == [])
    }
  }

  @Test func whatIsMissingIsNoticed() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      let store = MemoryObjectStore()
      _ = try await makeLine(wal, store, directory)
      let listed = try await objects(store)
      let layers = listed.filter { $0.key.name.contains("/layers/") }
      let chunks = listed.filter { $0.key.name.contains("/wal/") }
      #expect(layers.count >= 2 && chunks.count >= 4)
      for object in layers + [chunks[1], chunks[chunks.count / 2]] {
        let bytes = try await store.get(object.key, range: nil)
        try await store.delete(object.key)
        #expect(try await verify(store).problems != [], "\(object.key)")
        try await store.put(object.key, .bytes(bytes))
      }
    }
  }

  @Test func aPromisedMomentThatIsNotThereIsAProblem() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      let store = MemoryObjectStore()
      _ = try await makeLine(wal, store, directory)
      let late = try await verify(store, moments: [wal.end + 0x100_0000])
      #expect(late.problems.count == 1)
      #expect(late.problems.first?.contains("promised moment") == true)
    }
  }

  /// Reading a line takes hours, in which leases end and windows move on.
  @Test func whatIsPromisedNoMoreIsNoProblem() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      let store = MemoryObjectStore()
      _ = try await makeLine(wal, store, directory)
      let verifier = LineVerifier(store: store)
      let late = wal.end + 0x100_0000
      /// What each reading of the promise says, the last one again and again.
      func problems(_ promises: [LineVerifier.Promise?]) async throws -> [String] {
        var left = promises[...]
        return try await verifier.verify(lineA) {
          left.count > 1 ? left.removeFirst() : left.first ?? nil
        }.problems
      }
      let lost = LineVerifier.Promise(moments: [wal.records[20].end, late])
      let kept = LineVerifier.Promise(moments: [wal.records[20].end])
      #expect(try await problems([lost]).count == 1)
      #expect(try await problems([lost, kept]) == [])
      #expect(try await problems([lost, nil]) == [])
      // Another window is sought by its own start, and where that is not found either it is a problem.
      let now = HistoryEnvironment.systemTime()
      let future = LineVerifier.Promise(windowStart: now.advanced(by: .seconds(3600)))
      #expect(try await problems([future]).count == 1)
      #expect(try await problems([future, LineVerifier.Promise(windowStart: now)]) == [])
    }
  }

  @Test func aLineThatIsGoneIsAProblemOnlyWhereItIsPromised() async throws {
    let verifier = LineVerifier(store: MemoryObjectStore())
    let gone = try await verifier.verify(lineA) { nil }
    #expect(gone.problems == [])
    let missing = try await verifier.verify(lineA) {
      LineVerifier.Promise(moments: [LSN(0x100_0000)])
    }
    #expect(missing.problems.count == 1)
  }

  @Test func aStoreThatDoesNotAnswerIsNoDamage() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      let memory = MemoryObjectStore()
      _ = try await makeLine(wal, memory, directory)
      for number in [1, 3, 10, 20] {
        let store = FaultyObjectStore(memory) { $0.number == number ? .before : nil }
        await #expect(throws: HistoryError.self) { _ = try await verify(store) }
      }
    }
  }
}
