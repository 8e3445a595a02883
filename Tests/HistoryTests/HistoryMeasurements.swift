import DurableIO
import Foundation
import ObjectStorage
import Synchronization
import TestSupport
import Testing
import Volume

@testable import History

/// Figures of layers; run in release with `EXZO_MEASURE=1` and `--filter HistoryMeasurements`.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["EXZO_MEASURE"] != nil), .serialized)
struct HistoryMeasurements {
  /// Blocks shaped like pgbench's: rows of numbers and random text, about 2:1.
  private struct PageEpoch: SealedEpoch {
    var number: UInt64
    var files: [EpochFile]
    var tree: FileTreeSnapshot { testTree(files.map(\.id.rawValue)) }

    func readBlock(
      file: FileID, block: UInt32, into buffer: UnsafeMutableRawBufferPointer
    ) throws {
      var random = SeededRandom(file.rawValue << 32 | UInt64(block) &+ number << 50)
      for offset in stride(from: 0, to: blockSize, by: 32) {
        buffer.storeBytes(of: UInt64(block), toByteOffset: offset, as: UInt64.self)
        buffer.storeBytes(of: 0x0020_0004_0000_0001, toByteOffset: offset + 8, as: UInt64.self)
        buffer.storeBytes(of: random.next(), toByteOffset: offset + 16, as: UInt64.self)
        buffer.storeBytes(of: random.next(), toByteOffset: offset + 24, as: UInt64.self)
      }
    }
  }

  private func epoch(_ number: UInt64, files: Int, blocks: Int, every: Int = 1) -> PageEpoch {
    PageEpoch(
      number: number,
      files: (0..<files).map { file in
        EpochFile(
          id: FileID(UInt64(file) + 10), floor: .max,
          blocks: stride(from: 0, to: blocks * every, by: every).map { UInt32($0) })
      })
  }

  private func seconds(_ body: () throws -> Void) rethrows -> Double {
    let clock = ContinuousClock()
    let start = clock.now
    try body()
    let duration = start.duration(to: clock.now)
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
  }

  @Test(arguments: [4, 8, 16]) func partSizes(blocksPerPart: Int) async throws {
    try await withTemporaryDirectory { directory in
      let store = try LocalObjectStore(root: "\(directory)/s", fileSystem: SystemFileSystem())
      let environment = testEnvironment(store, directory)
      let epoch = epoch(1, files: 4, blocks: 16_384)  // 512 MiB
      var layers: [LayerReference] = []
      let build = LayerBuild(
        line: lineA, number: ObjectNumber(epoch: 1, sequence: 1),
        directory: environment.spoolDirectory, fileSystem: environment.fileSystem,
        layout: LayerLayout(blocksPerPart: blocksPerPart))
      let generate = seconds {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: 16)
        for block in 0..<65_536 {
          try? epoch.readBlock(file: FileID(10), block: UInt32(block), into: buffer)
        }
        buffer.deallocate()
      }
      var layer: SpooledLayer?
      let built = try seconds {
        layer = try build.build(
          [epoch], covering: epoch.number...epoch.number, check: nil)
      }
      let spooled = try #require(layer)
      try await store.put(spooled.reference.key(ofObject: 0), .file(path: spooled.paths[0]))
      layers = [spooled.reference]
      let view = try LayerStackView(
        layers: layers, storage: environment.layerStorage, cachedParts: 1)
      let sequential = try seconds {
        let buffer = UnsafeMutableRawBufferPointer.allocate(
          byteCount: 16 * blockSize, alignment: 16)
        for start in stride(from: 0, to: 16_384, by: 16) {
          try view.read(file: FileID(11), startBlock: UInt32(start), count: 16, into: buffer)
        }
        buffer.deallocate()
      }
      let single = try randomReads(view, count: 20_000, files: 4, blocks: 16_384)
      print(
        """
        part of \(blocksPerPart): build \(Int(512 / (built - generate))) MiB/s, \
        stored \(spooled.reference.storedBytes >> 20) of 512 MiB, sequential \
        \(Int(128 / sequential)) MiB/s, \(Int(20_000 / single)) random blocks/s
        """)
    }
  }

  private func randomReads(
    _ view: LayerStackView, count: Int, files: UInt64, blocks: UInt32
  ) throws -> Double {
    var random = SeededRandom(3)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: 16)
    defer { buffer.deallocate() }
    return try seconds {
      for _ in 0..<count {
        let file = UInt64.random(in: 0..<files, using: &random) + 10
        try view.read(
          file: FileID(file), startBlock: UInt32.random(in: 0..<blocks, using: &random), count: 1,
          into: buffer)
      }
    }
  }

  /// 1.9 M blocks in 15 objects below seven sparse layers, the page cache dropped (needs root).
  @Test func bigStack() async throws {
    try await withTemporaryDirectory { directory in
      let store = try LocalObjectStore(root: "\(directory)/s", fileSystem: SystemFileSystem())
      let environment = testEnvironment(store, directory)
      var layers: [LayerReference] = []
      for number in 1...8 as ClosedRange<UInt64> {
        let epoch =
          number == 1
          ? epoch(1, files: 15, blocks: 126_000)
          : epoch(number, files: 15, blocks: 2_000, every: 61 - Int(number))
        let build = LayerBuild(
          line: lineA, number: ObjectNumber(epoch: 1, sequence: number),
          directory: environment.spoolDirectory, fileSystem: environment.fileSystem)
        let layer = try build.build(
          [epoch], covering: epoch.number...epoch.number, check: nil)
        for (index, path) in layer.paths.enumerated() {
          try await store.put(layer.reference.key(ofObject: index), .file(path: path))
        }
        try layer.removeFiles(environment.fileSystem)
        layers.insert(layer.reference, at: 0)
      }
      // Without root the figures are those of a warm cache.
      try? Data("3".utf8).write(to: URL(fileURLWithPath: "/proc/sys/vm/drop_caches"))
      var view: LayerStackView?
      let storage = environment.layerStorage
      let opened = try seconds { view = try LayerStackView(layers: layers, storage: storage) }
      let all = try #require(view)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: 16)
      let touched = try seconds {
        for file: UInt64 in 10..<25 {
          try all.read(file: FileID(file), startBlock: 5, count: 1, into: buffer)
        }
      }
      buffer.deallocate()
      let cold = try randomReads(all, count: 5_000, files: 15, blocks: 126_000)
      let warm = try randomReads(all, count: 5_000, files: 15, blocks: 126_000)
      var random = SeededRandom(9)
      let wanted = (0..<30_000).map { _ in
        BlockAddress(
          file: FileID(UInt64.random(in: 10..<25, using: &random)),
          block: UInt32.random(in: 0..<126_000, using: &random))
      }
      let fetched = try seconds { try all.prefetch(wanted, threads: 2) { _, _ in } }
      let bytes = layers.reduce(0) { $0 + $1.storedBytes } >> 20
      print(
        """
        1.9 M blocks, \(layers.count) layers, \(bytes) MiB: open \(opened * 1000) ms, first block \
        of each of 15 files \(touched * 1000) ms, random blocks/s cold \(Int(5_000 / cold)), \
        again \(Int(5_000 / warm)); prefetch of 30,000 \(Int(30_000 / fetched)) blocks/s
        """)
    }
  }
}
