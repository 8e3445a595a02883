import PostgresFormat
import TestSupport
import Testing

@testable import History

@Suite struct SeekTests {
  private let later = PostgresTimestamp(Int64.max / 2)

  /// A line whose WAL is a server's, with keyframes at some record boundaries.
  private func makeLine(
    _ wal: RealWAL, _ store: MemoryObjectStore, _ directory: String,
    random: inout SeededRandom
  ) async throws -> LineWriter {
    let start = wal.records[0].start
    let writer = try await LineWriter.create(
      testDescription(lineA, start: start), environment: testEnvironment(store, directory))
    for chunk in wal.chunks(line: lineA, from: start, random: &random) {
      try await writer.appendChunk(chunk)
    }
    for number in 1...6 {
      let record = wal.records[wal.records.count * number / 8]
      _ = try await writer.appendKeyframe(
        from: [testEpoch(UInt64(number), blocks: [1], seed: 1)], testParameters(record.end))
    }
    return writer
  }

  private func expectMoment(
    _ found: Moment, _ lsn: LSN?, sought: LSN, _ keyframes: [Keyframe]
  ) {
    #expect(found.lsn == lsn, "sought \(sought)")
    #expect(found.keyframe == keyframes.last { $0.consistentLSN <= sought }, "sought \(sought)")
  }

  @Test func findsWhatTheServersWALSays() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      #expect(wal.records.count > 5_000)
      for seed: UInt64 in 1...3 {
        var random = SeededRandom(seed)
        let store = MemoryObjectStore()
        let writer = try await makeLine(wal, store, directory, random: &random)
        if seed == 2 { try await writer.mergeChunks(olderThan: .zero) }
        if seed == 3 {
          var policy = ChunkMergePolicy()
          (policy.shortBytes, policy.sources, policy.longAge) = (1, 10_000, .zero)
          policy.longBytes = (wal.end - wal.records[0].start) / 2
          #expect(try await writer.mergeChunks(olderThan: .zero, policy: policy) > 2)
        }
        let history = try await LineHistory.open(lineA, store: store)
        #expect(await history.gaps().isEmpty)
        #expect(await history.uploadedLSN == wal.end)
        try await seekLSNs(history, wal, &random)
        try await seekTimes(history, wal, &random)
        try await seekEdges(history, wal)
      }
    }
  }

  private func seekLSNs(
    _ history: LineHistory, _ wal: RealWAL, _ random: inout SeededRandom
  ) async throws {
    let keyframes = await history.keyframes
    let first = keyframes[0].consistentLSN
    for step in 0..<80 {
      var lsn = LSN(UInt64.random(in: first.rawValue...wal.end.rawValue, using: &random))
      switch step % 4 {
      case 0: lsn = max(first, wal.records.randomElement(using: &random)?.end ?? lsn)
      case 1: lsn = max(first, LSN(lsn.rawValue & ~8191))  // a page's edge
      default: break
      }
      let found = try await history.seek(.lsn(lsn), now: later)
      expectMoment(found, wal.lastEnd(at: lsn), sought: lsn, keyframes)
    }
  }

  private func seekTimes(
    _ history: LineHistory, _ wal: RealWAL, _ random: inout SeededRandom
  ) async throws {
    let keyframes = await history.keyframes
    let times = wal.records.compactMap(\.time)
    let ascending = zip(times, times.dropFirst()).allSatisfy { $0 <= $1 }
    #expect(!ascending, "the workload should end transactions out of order")
    for step in 0..<60 {
      var time = try #require(times.randomElement(using: &random))
      if step % 3 == 1 { time = PostgresTimestamp(time.rawValue - 1) }
      guard let expected = wal.end(before: time), expected >= keyframes[0].consistentLSN else {
        let error = await historyError { _ = try await history.seek(.time(time), now: later) }
        #expect(error?.code == .beforeStart)
        continue
      }
      let found = try await history.seek(.time(time), now: later)
      #expect(found.lsn == expected)
      #expect(found.keyframe.consistentLSN <= expected + 40)
    }
  }

  private func seekEdges(_ history: LineHistory, _ wal: RealWAL) async throws {
    let head = try await history.seek(.head, now: later)
    #expect(head.lsn == wal.records.last?.end)
    let last = try #require(wal.records.compactMap(\.time).max())
    #expect(try await history.seek(.time(last), now: later).lsn == wal.records.last?.end)
    let after = await historyError { _ = try await history.seek(.lsn(wal.end + 1), now: later) }
    #expect(after?.code == .afterEnd)
    let before = await historyError {
      _ = try await history.seek(.lsn(wal.records[3].end), now: later)
    }
    #expect(before?.code == .beforeStart)
    let future = await historyError {
      _ = try await history.seek(.time(last), now: PostgresTimestamp(last.rawValue - 1))
    }
    #expect(future?.code == .inTheFuture)
  }

  @Test func childAndGrandchildSeekInTheirAncestors() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      var random = SeededRandom(4)
      let store = MemoryObjectStore()
      let environment = testEnvironment(store, directory)
      _ = try await makeLine(wal, store, directory, random: &random)
      // The same WAL goes on on each line, so that the oracle holds for all of them.
      let branches = [wal.records.count / 2, wal.records.count * 2 / 3]
        .map { wal.records[$0].end }
      var parent = lineA
      for (line, branch) in zip([lineB, lineC], branches) {
        let base = try await LineHistory.open(parent, store: store)
          .seek(.lsn(branch), now: later)
        #expect(base.lsn == branch)
        let origin = LineOrigin(
          line: parent, branchLSN: branch, base: base.keyframe.groups)
        let writer = try await LineWriter.create(
          testDescription(line, start: branch, parent: origin), environment: environment)
        for chunk in wal.chunks(line: line, from: branch, random: &random) {
          try await writer.appendChunk(chunk)
        }
        parent = line
      }
      let history = try await LineHistory.open(lineC, store: store)
      #expect(await history.gaps().isEmpty)
      for record in wal.records.suffix(wal.records.count * 3 / 4).filter({
        $0.end.rawValue % 3 == 0
      })
      .prefix(60) {
        let found = try await history.seek(.lsn(record.end), now: later)
        #expect(found.lsn == record.end)
        let expected =
          record.end < branches[0] ? lineA : record.end < branches[1] ? lineB : lineC
        #expect(found.line == expected)
        // Keyframes of an ancestor count up to the branch point only.
        #expect(found.keyframe.consistentLSN <= branches[0])
      }
      try await seekInTimes(history, wal)
    }
  }

  private func seekInTimes(_ history: LineHistory, _ wal: RealWAL) async throws {
    let times = wal.records.suffix(wal.records.count / 2).compactMap(\.time)
    for time in times.enumerated().filter({ $0.offset % 40 == 0 }).map(\.element) {
      let expected = wal.end(before: time)
      do {
        #expect(try await history.seek(.time(time), now: later).lsn == expected)
      } catch let error as HistoryError where error.code == .beforeStart {
        // A clock that was ahead early on makes the moment one before the first keyframe.
        #expect(error.lsn.map { $0 < wal.records[wal.records.count / 8].end } == true)
      }
    }
  }

  @Test func damagedKeyframesAreNamed() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      var random = SeededRandom(4)
      let store = MemoryObjectStore()
      _ = try await makeLine(wal, store, directory, random: &random)
      for key in store.keys where key.contains("/manifest/") { store[key] = nil }
      let keys = store.keys.filter { $0.contains("/keyframes/") }
      store[keys[5]]?[70] ^= 1
      let history = try await LineHistory.open(lineA, store: store)
      // The one before serves, and the damage is known.
      #expect(try await history.seek(.head, now: later).keyframe.key.name == keys[4])
      #expect(await history.damages.map(\.key) == [keys[5]])
      for key in keys { store[key]?[70] ^= key == keys[5] ? 0 : 1 }
      let none = try await LineHistory.open(lineA, store: store)
      let error = await historyError { _ = try await none.seek(.head, now: later) }
      #expect(error?.code == .keyframeDamaged && error?.key == keys[0])
    }
  }

  @Test func aGapBeforeTheMomentIsAnError() async throws {
    try await withTemporaryDirectory { directory in
      let wal = try await RealWAL.shared.value
      var random = SeededRandom(5)
      let store = MemoryObjectStore()
      _ = try await makeLine(wal, store, directory, random: &random)
      for key in store.keys where key.contains("/manifest/") { store[key] = nil }
      let chunks = store.keys.filter { $0.contains("/wal/") }
      store[chunks[chunks.count - 3]] = nil
      let history = try await LineHistory.open(lineA, store: store)
      let error = await historyError { _ = try await history.seek(.head, now: later) }
      #expect(error?.code == .gap)
      #expect(error.map { "\($0)".contains(chunks[chunks.count - 4]) } == true)
    }
  }
}
