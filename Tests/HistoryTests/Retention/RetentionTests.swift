import ObjectStorage
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import History

@Suite struct RetentionTests {
  @Test func rangesAgreeWithASetOfPositions() {
    var random = SeededRandom(3)
    for _ in 0..<300 {
      var ranges = LSNRanges()
      var evictions = LineEvictions()
      var model: Set<UInt64> = []
      func anyRange() -> Range<UInt64> {
        let start = UInt64.random(in: 0..<60, using: &random)
        return start..<start + UInt64.random(in: 1..<9, using: &random)
      }
      for _ in 0..<Int.random(in: 0..<9, using: &random) {
        let range = anyRange()
        ranges.insert(LSN(range.lowerBound)..<LSN(range.upperBound))
        evictions.add(LSN(range.lowerBound)..<LSN(range.upperBound), latestTime: nil)
        model.formUnion(range)
      }
      for _ in 0..<20 {
        let range = anyRange()
        let asked = LSN(range.lowerBound)..<LSN(range.upperBound)
        #expect(ranges.contains(asked) == range.allSatisfy(model.contains))
        #expect(evictions.contains(asked) == range.allSatisfy(model.contains))
        #expect(ranges.overlaps(asked) == range.contains(where: model.contains))
      }
      #expect(ranges.ranges == evictions.wal.map(\.range))
    }
  }

  @Test func thinningKeepsTailsWithinTheBound() {
    var random = SeededRandom(5)
    let policy = RetentionPolicy()
    let now = PostgresTimestamp(900_000_000_000_000)
    for _ in 0..<200 {
      var keyframes: [Keyframe] = []
      var (time, lsn) = (now.rawValue - 200_000_000_000, UInt64(1 << 30))
      while time < now.rawValue {
        keyframes.append(testKeyframe(keyframes.count + 1, LSN(lsn), PostgresTimestamp(time)))
        time += Int64.random(in: 10_000_000..<900_000_000, using: &random)
        lsn += UInt64.random(in: 1000..<40 << 20, using: &random)
      }
      let kept = policy.thinned(keyframes, now: now)
      #expect(kept.first == keyframes.first && kept.last == keyframes.last)
      #expect(policy.thinned(kept, now: now) == kept)
      #expect(kept.count < keyframes.count * 2 / 3)
      for keyframe in keyframes {
        let chosen = kept.last { $0.consistentLSN <= keyframe.consistentLSN }!
        if chosen == keyframe { continue }
        #expect(now.since(keyframe.createdAt) >= .seconds(3600))
        #expect(keyframe.createdAt.since(chosen.createdAt) <= .seconds(3600))
        #expect(keyframe.consistentLSN - chosen.redoLSN <= policy.maximumTailBytes)
      }
    }
  }

  private func testKeyframe(_ number: Int, _ lsn: LSN, _ time: PostgresTimestamp) -> Keyframe {
    Keyframe(
      line: lineA, number: ObjectNumber(epoch: 1, sequence: UInt64(number)),
      timeline: TimelineID(1), checkpointLSN: lsn, redoLSN: lsn, consistentLSN: lsn,
      createdAt: time, systemIdentifier: 42, postgresVersion: "15.1", partial: nil, groups: [])
  }

  private func description() -> LineDescription {
    var description = testDescription(lineA)
    // Smaller than PostgreSQL has them; the made-up WAL is of a version that nobody parses.
    description.segmentSize = 4096
    description.major = 99
    return description
  }

  private func work(_ writer: LineWriter, _ model: inout LayerModel, _ clock: WorldClock)
    async throws
  {
    for _ in 0..<2 {
      clock.now = clock.now.advanced(by: .seconds(300))
      let from = await writer.uploadedLSN
      try await writer.appendChunk(testChunk(lineA, from: from, count: 6000, time: clock.now))
    }
    let end = await writer.uploadedLSN
    let isPartial = await writer.newestKeyframe.map { $0.number.sequence % 3 != 0 } ?? false
    _ = try await writer.appendKeyframe(
      from: [model.nextEpoch(operations: 8)], testParameters(end),
      kind: isPartial ? .partial : .complete)
    try await writer.mergeLayers()
  }

  /// A simulated week of a writer, its layers and merges real, with a round every hour; then the bytes
  /// in the store against what the policy needs at the least.
  @Test func aWeekTakesLittleMoreThanItMust() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let clock = WorldClock(PostgresTimestamp(900_000_000_000_000))
      var environment = testEnvironment(store, directory)
      environment.now = { clock.now }
      environment.uptime = { .seconds(clock.now.rawValue / 1_000_000) }
      let writer = try await LineWriter.create(description(), environment: environment)
      let collector = HistoryCollector(environment: environment)
      var model = LayerModel(seed: 8)
      func demands() -> [LineID: LineDemand] {
        [lineA: LineDemand(window: .since(clock.now.advanced(by: .seconds(-172_800))))]
      }
      for _ in 0..<168 {
        for _ in 0..<6 { try await work(writer, &model, clock) }
        _ = try await collector.collect(demands())
      }
      try await compare(store, environment, demands())
      let error = await historyError {
        _ = try await LineHistory.open(lineA, store: store)
          .seek(.time(clock.now.advanced(by: .seconds(-400_000))), now: clock.now)
      }
      #expect(error?.code == .beforeStart)
      let resumed = try await LineWriter.resume(lineA, environment: environment)
      #expect(await resumed.uploadedLSN == writer.uploadedLSN)
      #expect(await resumed.groups == writer.groups)
    }
  }

  private func compare(
    _ store: MemoryObjectStore, _ environment: HistoryEnvironment, _ demands: [LineID: LineDemand]
  ) async throws {
    var policy = RetentionPolicy()
    (policy.grace, policy.margin) = (.zero, .zero)
    let sizes = try await HistorySizes.read([lineA], environment: environment, policy: policy)
    let size = sizes.size(of: lineA, demands[lineA]!)
    var stored: UInt64 = 0
    for key in store.keys where key.contains("/wal/") || key.contains("/layers/") {
      stored += UInt64(store[key]!.count)
    }
    let all = store.keys.reduce(0) { $0 + store[$1]!.count }
    print(
      "RESULT week: \(stored) bytes of WAL and layers, needed \(size.bytes)",
      "(WAL \(size.walBytes), layers \(size.layerBytes)); \(all) bytes and \(store.keys.count) objects in all"
    )
    #expect(Double(stored) <= 1.15 * Double(size.bytes))
    #expect(store.keys.count < 1500)
    let later = LineDemand(window: .since(environment.now().advanced(by: .seconds(-86_400))))
    let shrinkage = sizes.shrinkage(from: demands, to: [lineA: later])
    #expect(shrinkage.commits > 250 && shrinkage.commits < 330)
    #expect(shrinkage.bytes > size.bytes / 4 && shrinkage.bytes < size.bytes * 3 / 4)
    let verified = try await LineVerifier(store: store)
      .verify(lineA, moments: [], windowStart: nil)
    #expect(verified.problems == [])
    let history = try await LineHistory.open(lineA, store: store)
    #expect(await history.gaps().isEmpty)
    let storage = environment.layerStorage
    for keyframe in await history.keyframes {
      _ = try await blocking { try LayerStackView(layers: keyframe.layers, storage: storage).tree }
    }
  }

  /// A compute wakes while a round is under way: it wins, and goes on with what is there.
  @Test func aWriterThatResumesDuringARoundIsNotDisturbed() async throws {
    try await withTemporaryDirectory { directory in
      let clock = WorldClock(PostgresTimestamp(900_000_000_000_000))
      let memory = MemoryObjectStore()
      var environment = testEnvironment(memory, directory)
      environment.now = { clock.now }
      environment.uptime = { .seconds(clock.now.rawValue / 1_000_000) }
      let first = try await LineWriter.create(description(), environment: environment)
      var model = LayerModel(seed: 8)
      for _ in 0..<20 { try await work(first, &model, clock) }
      let end = await first.uploadedLSN
      let demands = [lineA: LineDemand(window: .from(end))]
      let policy = RetentionPolicy()
      for step in 1... {
        let store = memory.copy()
        let (base, model) = (environment, model)
        let resumed = Latched<LineWriter>()
        let count = CallCounter()
        let hooked = HookedStore(store) { isWrite in
          guard isWrite, count.next() == step else { return }
          var environment = base
          environment.store = store
          await resumed.set(try await LineWriter.resume(lineA, environment: environment))
        }
        var collecting = environment
        collecting.store = hooked
        let collector = HistoryCollector(environment: collecting, policy: policy)
        clock.now = clock.now.advanced(by: .seconds(10))
        _ = try await collector.collect(demands)
        clock.now = clock.now.advanced(by: policy.grace)
        _ = try await collector.collect(demands)
        guard let writer = await resumed.value else { break }
        var continued = model
        #expect(await writer.uploadedLSN == end)
        for _ in 0..<5 { try await work(writer, &continued, clock) }
        try await writer.mergeChunks(olderThan: .zero)
        try await writer.writeManifest()
        try await expectWholeLine(store, head: end + 60_000, now: clock.now)
      }
    }
  }

  /// A damaged description keeps the lines that it may descend from, and no others.
  @Test func aDamagedDescriptionKeepsWhatItMayDescendFrom() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let environment = testEnvironment(store, directory)
      let all = [lineA, lineB, lineC]
      for line in all {
        _ = try await LineWriter.create(testDescription(line), environment: environment)
      }
      let key = LineKeys(line: lineC).description
      var bytes = try await store.get(key, range: nil)
      bytes[bytes.count / 2] ^= 0x04
      try await store.put(key, .bytes(bytes))
      await #expect(throws: HistoryError.self) { _ = try await HistoryCatalog.listLines(store) }
      /// The lines that are left of those that nobody needs.
      func collect(_ ancestry: LineDemand.Ancestry) async throws -> [LineID] {
        let report = try await HistoryCollector(environment: environment).collect([
          lineA: LineDemand(window: nil), lineB: LineDemand(window: nil),
          lineC: LineDemand(window: .everything, ancestry: ancestry),
        ])
        #expect(report.problems.compactMap(\.key) == [key.name])
        return all.filter { line in
          store.keys.contains { $0.hasPrefix(LineKeys(line: line).prefix) }
        }
      }
      #expect(try await collect(.unknown) == all)
      #expect(try await collect(.line(LineID(rawValue: "ln-gone000000000000"))) == all)
      #expect(try await collect(.line(lineB)) == [lineB, lineC])
      #expect(try await collect(.root) == [lineC])
    }
  }

  /// A damaged description on a parent that was rightly removed keeps what that parent descended from, and does not
  /// stop the collection of all lines for good.
  @Test func aDamagedDescriptionOnARemovedParentKeepsItsAncestors() async throws {
    let gone = LineID(rawValue: "ln-gone000000000000")
    let cases: [(ofGone: LineDemand.Ancestry, left: [LineID])] = [
      (.unknown, [lineA, lineB, lineC]), (.line(gone), [lineA, lineB, lineC]),
      (.line(lineB), [lineB, lineC]), (.root, [lineC]),
    ]
    for (ofGone, left) in cases {
      try await withTemporaryDirectory { directory in
        let store = MemoryObjectStore()
        let environment = testEnvironment(store, directory)
        for line in [lineA, lineB, lineC] {
          _ = try await LineWriter.create(testDescription(line), environment: environment)
        }
        let key = LineKeys(line: lineC).description
        var bytes = try await store.get(key, range: nil)
        bytes[bytes.count / 2] ^= 0x04
        try await store.put(key, .bytes(bytes))
        _ = try await HistoryCollector(environment: environment).collect([
          lineA: LineDemand(window: nil), lineB: LineDemand(window: nil),
          lineC: LineDemand(window: .everything, ancestry: .line(gone)),
          gone: LineDemand(window: nil, ancestry: ofGone),
        ])
        let found = [lineA, lineB, lineC].filter { line in
          store.keys.contains { $0.hasPrefix(LineKeys(line: line).prefix) }
        }
        #expect(found == left, "\(ofGone)")
      }
    }
  }

  private func expectWholeLine(
    _ store: any ObjectStore, head: LSN, now: PostgresTimestamp
  ) async throws {
    let history = try await LineHistory.open(lineA, store: store)
    #expect(try await history.seek(.head, now: now).lsn == head)
    #expect(await history.gaps().isEmpty)
    #expect(await history.damages.isEmpty)
  }
}

/// A value that is set once.
private actor Latched<Value: Sendable> {
  private(set) var value: Value?
  func set(_ value: Value) { self.value = value }
}
