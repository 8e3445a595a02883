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
