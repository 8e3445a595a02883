import ObjectStorage
import PostgresFormat
import Synchronization
import TestSupport
import Testing
import Volume

@testable import History

/// Lines that leave behind what they were opened from.
@Suite struct StandaloneTests {
  private let start = LSN(0x100_0000)

  private func append(_ writer: LineWriter, _ count: Int) async throws {
    let from = await writer.uploadedLSN
    try await writer.appendChunk(testChunk(writer.description.id, from: from, count: count))
  }

  private func description(_ line: LineID, _ parent: LineOrigin? = nil) -> LineDescription {
    var description = testDescription(line, start: parent?.branchLSN ?? start, parent: parent)
    description.segmentSize = 128
    return description
  }

  /// A child that was opened without replay from a partial keyframe, with two keyframes of its own.
  private func child(_ environment: HistoryEnvironment) async throws -> LineWriter {
    let parent = try await LineWriter.create(description(lineA), environment: environment)
    try await append(parent, 1000)
    _ = try await parent.appendKeyframe(
      from: [testEpoch(1, blocks: [1, 2, 3, 4, 9], seed: 100)], testParameters(start + 200))
    let partial = try await parent.appendKeyframe(
      from: [testEpoch(2, blocks: [6], seed: 200)], testParameters(start + 500), kind: .partial)
    let origin = LineOrigin(
      line: lineA, branchLSN: start + 800, base: partial.image, tree: testTree([7]))
    let child = try await LineWriter.create(
      description(lineB, origin), environment: environment)
    try await append(child, 400)
    for number in 1...2 as ClosedRange<UInt64> {
      let keyframe = try await child.appendKeyframe(
        from: [testEpoch(number, blocks: [2], seed: 400 + 100 * number)],
        testParameters(start + 800 + 50 * number))
      #expect(keyframe.groups.count == 3)
      #expect(keyframe.oldestRedoLSN == start + 200)
    }
    return child
  }

  /// Pages 3 and 5 were made, and what was at 8 and behind had been cut off.
  private var content: TestEpoch {
    let file = FileID(7)
    return TestEpoch(
      number: 3, tree: testTree([7]), files: [EpochFile(id: file, floor: 8, blocks: [3, 5])],
      seeds: [BlockAddress(file: file, block: 3): 703, BlockAddress(file: file, block: 5): 705])
  }

  private func expectBlocks(
    _ layers: [LayerReference], _ seeds: [UInt64], _ environment: HistoryEnvironment
  ) async throws {
    let storage = environment.layerStorage
    try await blocking {
      let view = try LayerStackView(layers: layers, storage: storage)
      var bytes = [UInt8](repeating: 1, count: seeds.count * blockSize)
      try bytes.withUnsafeMutableBytes {
        try view.read(file: FileID(7), startBlock: 0, count: seeds.count, into: $0)
      }
      for (block, seed) in seeds.enumerated() {
        let found = Array(bytes[block * blockSize..<(block + 1) * blockSize])
        #expect(found == blockBytes(seed: seed), "block \(block)")
      }
    }
  }

  @Test func aKeyframeThatStandsAloneNeedsNothingFromBeforeIt() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let environment = testEnvironment(store, directory)
      let child = try await child(environment)
      #expect(await child.standsOnBase)
      let alone = try await child.appendKeyframe(
        from: [testEpoch(3, blocks: [], seed: 0)], testParameters(start + 1000),
        kind: .standalone, content: content)
      #expect(alone.isComplete && alone.oldestRedoLSN == start + 1000)
      // One layer of its own, two above the base and two below: as many as a line without a base.
      #expect(alone.layers.count <= LayerStack.maximumOwnLayers)
      #expect(await !child.standsOnBase)
      try await expectBlocks(
        alone.layers, [0, 101, 602, 703, 104, 705, 206, 0, 0, 0], environment)
      let moment = try await LineHistory.open(lineB, store: store)
        .seek(.lsn(start + 1200), now: PostgresTimestamp(.max))
      #expect(moment.keyframe == alone && moment.complete == alone)
      // What follows goes on top of it, also under the next writer.
      for number in 4...9 as ClosedRange<UInt64> {
        let writer =
          number == 6 ? try await LineWriter.resume(lineB, environment: environment) : nil
        let next = try await (writer ?? child).appendKeyframe(
          from: [testEpoch(number, blocks: [1], seed: 1000 * number)],
          testParameters(start + 1000 + 10 * number))
        #expect(next.isComplete && next.layers.count <= LayerStack.maximumOwnLayers)
        try await expectBlocks(
          next.layers, [0, 1000 * number + 1, 602, 703, 104, 705, 206, 0, 0, 0], environment)
        if writer != nil { break }
      }
    }
  }

  /// What a volume reads now, as its agent would have it.
  private final class ReadingVolume: Sendable {
    private let layers = Mutex<[LayerReference]?>(nil)
    var base: [LayerReference]? {
      get { layers.withLock { $0 } }
      set { layers.withLock { $0 = newValue } }
    }
  }

  @Test(arguments: [FaultyObjectStore.Fault.before, .after])
  func aRunningVolumeLeavesItsBaseWhateverFails(_ fault: FaultyObjectStore.Fault) async throws {
    for failing in 1... {
      let isThrough = try await withTemporaryDirectory { directory in
        try await leaveBase(in: directory, failing: failing, fault)
      }
      if isThrough { break }
      #expect(failing < 20)
    }
  }

  /// - Returns: whether fewer calls were made than would have to be for the fault to come.
  private func leaveBase(
    in directory: String, failing: Int, _ fault: FaultyObjectStore.Fault
  ) async throws -> Bool {
    let store = MemoryObjectStore()
    let clock = TestClock()
    let faulty = FaultyObjectStore(store)
    let child = try await child(testEnvironment(faulty, directory, clock: clock))
    let alone = try await child.appendKeyframe(
      from: [testEpoch(3, blocks: [], seed: 0)], testParameters(start + 1000),
      kind: .standalone, content: content)
    let volume = ReadingVolume()
    func leave() async throws {
      _ = try await child.moveBase { layers in
        try await self.expectKept(volume, store, clock, directory)
        volume.base = layers
        try await self.expectKept(volume, store, clock, directory)
      }
    }
    let count = CallCounter()
    faulty.setRule { _ in count.next() == failing ? fault : nil }
    var hasFailed = false
    do { try await leave() } catch { hasFailed = true }
    faulty.setRule(nil)
    try await expectKept(volume, store, clock, directory)
    // The store is back.
    try await leave()
    #expect(volume.base == alone.layers)
    try await expectKept(volume, store, clock, directory)
    #expect(store.keys.filter { $0.hasPrefix("lines/\(lineA)/wal/") } == [])
    let resumed = try await LineWriter.resume(
      lineB, environment: testEnvironment(store, directory, clock: clock))
    #expect(resumed.volumeBase == alone.layers)
    return !hasFailed
  }

  /// Retention takes what nobody needs; what the volume reads is there.
  private func expectKept(
    _ volume: ReadingVolume, _ store: MemoryObjectStore, _ clock: TestClock, _ directory: String
  ) async throws {
    let environment = testEnvironment(store, directory, clock: clock)
    let demands = [
      lineA: LineDemand(window: nil), lineB: LineDemand(window: .from(start + 1200)),
    ]
    for _ in 0..<3 {
      _ = try await HistoryCollector(environment: environment).collect(demands)
      clock.advance(3601)
    }
    if let layers = volume.base {
      try await expectBlocks(layers, [0, 101, 602, 703, 104, 705, 206, 0, 0, 0], environment)
    } else {
      #expect(store.keys.filter { $0.hasPrefix("lines/\(lineA)/wal/") }.count == 1)
    }
  }

  @Test func theBaseMovesOnWhenItsLayersHaveBeenMerged() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let child = try await child(testEnvironment(store, directory))
      let alone = try await child.appendKeyframe(
        from: [testEpoch(3, blocks: [], seed: 0)], testParameters(start + 1000),
        kind: .standalone, content: content)
      #expect(try await child.moveBase { _ in } == alone.layers)
      #expect(try await child.moveBase { _ in } == nil)
      var bases = 0
      for number in 4...30 as ClosedRange<UInt64> {
        let next = try await child.appendKeyframe(
          from: [testEpoch(number, blocks: Array(10...(10 + UInt32(number))), seed: 1000 * number)],
          testParameters(start + 1000 + 2 * number))
        guard let layers = try await child.moveBase({ _ in }) else { continue }
        #expect(layers == next.layers)
        try await expectBlocks(
          layers, [0, 101, 602, 703, 104, 705, 206], testEnvironment(store, directory))
        bases += 1
      }
      // Not with every keyframe, and not never.
      #expect(bases > 1 && bases < 20, "\(bases)")
    }
  }

  @Test func whatOnlyTheFormerBaseNeedsGoesOnceTheVolumeHasLeftIt() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let clock = TestClock()
      let environment = testEnvironment(store, directory, clock: clock)
      let child = try await child(environment)
      let demands = [
        lineA: LineDemand(window: nil), lineB: LineDemand(window: .from(start + 1200)),
      ]
      func collect() async throws {
        for _ in 0..<3 {
          _ = try await HistoryCollector(environment: environment).collect(demands)
          clock.advance(3601)
        }
      }
      func parentWAL() -> Int { store.keys.filter { $0.hasPrefix("lines/\(lineA)/wal/") }.count }
      try await collect()
      #expect(parentWAL() == 1)
      let alone = try await child.appendKeyframe(
        from: [testEpoch(3, blocks: [], seed: 0)], testParameters(start + 1000),
        kind: .standalone, content: content)
      // The volume that runs now still reads its base.
      try await collect()
      #expect(parentWAL() == 1)
      #expect(child.volumeBase == nil)
      let kept = try await LineWriter.resume(lineB, environment: environment)
      #expect(kept.volumeBase == nil)
      try await collect()
      #expect(parentWAL() == 1)
      let moved = try await LineWriter.resume(lineB, environment: environment, movesBase: true)
      #expect(moved.volumeBase == alone.layers)
      try await collect()
      #expect(parentWAL() == 0)
      // Whoever takes over without leaving a base keeps what the last one had.
      let again = try await LineWriter.resume(lineB, environment: environment)
      #expect(again.volumeBase == alone.layers)
      try await collect()
      try await expectBlocks(
        alone.layers, [0, 101, 602, 703, 104, 705, 206, 0, 0, 0], environment)
    }
  }
}
