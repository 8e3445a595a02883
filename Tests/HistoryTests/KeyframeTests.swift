import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing
import Volume

@testable import History

@Suite struct KeyframeTests {
  private let start = LSN(0x100_0000)

  private func append(_ writer: LineWriter, _ count: Int) async throws {
    let from = await writer.uploadedLSN
    try await writer.appendChunk(
      testChunk(writer.description.id, from: from, count: count))
  }

  @Test func keyframeOpensAndStacksStayShort() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let environment = testEnvironment(store, directory)
      let writer = try await LineWriter.create(testDescription(lineA), environment: environment)
      var model = LayerModel(seed: 8)
      for number in 1...40 {
        try await append(writer, 100)
        let keyframe = try await writer.appendKeyframe(
          from: [model.nextEpoch(operations: 10)], testParameters(start + UInt64(number * 100)))
        #expect(keyframe.layers.count <= 8)
        if number % 3 == 0 { try await writer.mergeLayers() }
        let storage = environment.layerStorage
        let tree = try await blocking {
          try LayerStackView(layers: keyframe.layers, storage: storage).tree
        }
        #expect(tree.entries == model.tree.entries)
      }
      let history = try await LineHistory.open(lineA, store: store)
      #expect(await history.keyframes.count == 40)
      let written = try await Keyframe.read(history.keyframes[17].key, store: store)
      #expect(await written == history.keyframes[17])
    }
  }

  /// A merge takes as long as the store needs for all that it reads and writes; moments of that time must not have a
  /// long tail. A collector that comes by leaves the layer that is not referred to yet.
  @Test func keyframesGoOnWhileLayersAreMerged() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let holding = HoldingStore(store)
      var environment = testEnvironment(holding, directory)
      let now = environment.now()
      environment.now = { now }
      var description = testDescription(lineA)
      // The made-up WAL is of a version that nobody parses.
      (description.segmentSize, description.major) = (4096, 99)
      let writer = try await LineWriter.create(description, environment: environment)
      var model = LayerModel(seed: 8)
      var number = 0
      func next(_ kind: KeyframeKind) async throws -> Keyframe {
        number += 1
        try await append(writer, 100)
        return try await writer.appendKeyframe(
          from: [model.nextEpoch(operations: 10)], testParameters(start + UInt64(number * 100)),
          kind: kind)
      }
      var last = try await next(.complete)
      while await writer.hasRoomForLayer { last = try await next(.complete) }

      holding.holdsPuts(of: "/layers/", count: 1)
      async let isMerged = writer.mergeLayers()
      while holding.held == 0 { try await Task.sleep(for: .milliseconds(1)) }
      let during = try await next(.partial)
      #expect(during.groups == last.groups)
      holding.release()
      #expect(try await isMerged)
      _ = try await HistoryCollector(environment: environment).collect([
        lineA: LineDemand(window: .from(start + 100))
      ])

      let after = try await next(.complete)
      #expect(after.groups[0].layers.count < during.groups[0].layers.count)
      let storage = environment.layerStorage
      let tree = try await blocking {
        try LayerStackView(layers: after.layers, storage: storage).tree
      }
      #expect(tree.entries == model.tree.entries)
      let resumed = try await LineWriter.resume(lineA, environment: environment)
      #expect(await resumed.groups == writer.groups)
      let verified = try await LineVerifier(store: store)
        .verify(lineA, moments: [], windowStart: nil)
      #expect(verified.problems == [])
    }
  }

  /// What a merge that failed has stored is garbage once keyframes go on, and nothing else is.
  @Test func aMergeThatFailedIsMadeAnew() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let faulty = FaultyObjectStore(store)
      let environment = testEnvironment(faulty, directory)
      var description = testDescription(lineA)
      (description.segmentSize, description.major) = (4096, 99)
      let writer = try await LineWriter.create(description, environment: environment)
      var model = LayerModel(seed: 8)
      func next(_ kind: KeyframeKind) async throws -> Keyframe {
        try await append(writer, 100)
        return try await writer.appendKeyframe(
          from: [model.nextEpoch(operations: 10)], testParameters(await writer.uploadedLSN),
          kind: kind)
      }
      while await writer.hasRoomForLayer { _ = try await next(.complete) }
      let before = await writer.groups
      // It took effect, and nobody knows.
      faulty.setRule { $0.operation == .put && $0.key.contains("/layers/") ? .after : nil }
      await #expect(throws: HistoryError.self) { try await writer.mergeLayers() }
      faulty.setRule(nil)
      #expect(await writer.groups == before)
      let left = Set(store.keys.filter { $0.contains("/layers/") })
      _ = try await next(.partial)
      #expect(try await writer.mergeLayers())
      let last = try await next(.complete)
      _ = try await HistoryCollector(environment: environment).collect([
        lineA: LineDemand(window: .from(start + 100))
      ])
      let gone = left.subtracting(store.keys)
      #expect(gone.count == 1, "\(gone)")
      let storage = environment.layerStorage
      let tree = try await blocking {
        try LayerStackView(layers: last.layers, storage: storage).tree
      }
      #expect(tree.entries == model.tree.entries)
      let verified = try await LineVerifier(store: store)
        .verify(lineA, moments: [], windowStart: nil)
      #expect(verified.problems == [])
    }
  }

  @Test func aMergeThatIsCancelledLeavesNothing() async throws {
    try await withTemporaryDirectory { directory in
      let environment = testEnvironment(MemoryObjectStore(), directory)
      let writer = try await LineWriter.create(testDescription(lineA), environment: environment)
      var model = LayerModel(seed: 8)
      while await writer.hasRoomForLayer {
        try await append(writer, 100)
        _ = try await writer.appendKeyframe(
          from: [model.nextEpoch(operations: 10)], testParameters(await writer.uploadedLSN))
      }
      let before = await writer.groups
      let merging = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return try await writer.mergeLayers()
      }
      await #expect(throws: CancellationError.self) { try await merging.value }
      #expect(await writer.groups == before)
      let left = try FileManager.default.contentsOfDirectory(atPath: environment.spoolDirectory)
      #expect(left.filter { $0.hasPrefix("layer-") } == [])
      #expect(try await writer.mergeLayers())
    }
  }

  @Test func epochsMustFollowEachOther() async throws {
    try await withTemporaryDirectory { directory in
      let environment = testEnvironment(MemoryObjectStore(), directory)
      let writer = try await LineWriter.create(testDescription(lineA), environment: environment)
      for numbers: [UInt64] in [[2], [], [1, 3]] {
        let error = await historyError {
          _ = try await writer.appendKeyframe(
            from: numbers.map { testEpoch($0, blocks: [1], seed: 1) }, testParameters(start))
        }
        #expect(error?.code == .notContiguous)
      }
      _ = try await writer.appendKeyframe(
        from: [testEpoch(1, blocks: [1], seed: 1), testEpoch(2, blocks: [2], seed: 9)],
        testParameters(start))
      #expect(await writer.nextVolumeEpoch == 3)
    }
  }

  @Test func aChildGoesOnWithItsParentsLayers() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let environment = testEnvironment(store, directory)
      let parent = try await LineWriter.create(testDescription(lineA), environment: environment)
      try await append(parent, 1000)
      let base = try await parent.appendKeyframe(
        from: [testEpoch(1, blocks: [1, 2, 3], seed: 100)], testParameters(start + 500))
      let origin = LineOrigin(line: lineA, branchLSN: start + 800, base: base.groups)
      let child = try await LineWriter.create(
        testDescription(lineB, start: start + 800, parent: origin), environment: environment)
      try await append(child, 300)
      let keyframe = try await child.appendKeyframe(
        from: [testEpoch(1, blocks: [2], seed: 500)], testParameters(start + 1000))
      #expect(keyframe.layers.map(\.line) == [lineB, lineA])
      let storage = environment.layerStorage
      try await blocking {
        let view = try LayerStackView(layers: keyframe.layers, storage: storage)
        var bytes = [UInt8](repeating: 1, count: 5 * blockSize)
        try bytes.withUnsafeMutableBytes {
          try view.read(file: FileID(7), startBlock: 0, count: 5, into: $0)
        }
        let expected = [0, 101, 502, 103, 0].flatMap { blockBytes(seed: $0) }
        #expect(bytes == expected)
      }
      let resumed = try await LineWriter.resume(lineB, environment: environment)
      #expect(await resumed.newestKeyframe == keyframe)
      let history = try await LineHistory.open(lineB, store: store)
      #expect(await history.lineage.map(\.id) == [lineB, lineA])
      var found: [UInt8] = []
      for try await run in history.readWAL(from: start, to: start + 1100) { found += run.bytes }
      #expect(found == testBytes(from: start, count: 1100))
    }
  }
}
