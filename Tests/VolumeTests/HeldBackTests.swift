import DurableIO
import Glibc
import TestSupport
import Testing

@testable import Volume

/// A volume behind a cache that writes back pages of 4 KiB when it likes.
@Suite struct HeldBackTests {
  @Test func halvesThatComeOneByOneAreLoggedOnceTheyFit() async throws {
    try await withVolume { volume, file in
      try volume.write(file, at: 0, half(1))
      #expect(volume.heldBackCount(file) == 1)
      #expect(try volume.read(file, at: 0, count: 4096) == half(1), "reads see what came")
      #expect(throws: VolumeError.self) { try volume.sync(file) }
      try volume.write(file, at: 4096, half(1))
      #expect(volume.heldBackCount(file) == 0)
      try volume.sync(file)
      #expect(try volume.read(file, at: 0, count: 8192) == half(1) + half(1))
    }
  }

  @Test func aMixtureOfTwoWritesNeverEntersTheLog() async throws {
    try await withVolume { volume, file in
      try volume.write(file, at: 0, half(1) + half(1) + half(1) + half(1))
      try volume.write(file, at: 0, half(2) + half(1) + half(2) + half(2))
      #expect(volume.heldBackCount(file) == 1)
      let error = #expect(throws: VolumeError.self) { try volume.sync(file) }
      #expect(error?.code == .inputOutput)
      #expect("\(error!)".contains("base/1"), "\(error!)")
      volume.dropHeldBack()
      let whole = half(1) + half(1) + half(2) + half(2)
      #expect(try volume.read(file, at: 0, count: 16_384) == whole)
      try volume.sync(file)
    }
  }

  @Test func aCutKeepsWhatIsHeldBackBelowIt() async throws {
    try await withVolume { volume, file in
      for block in 0..<3 { try volume.write(file, at: UInt64(block) * 8192, half(1) + half(1)) }
      try volume.write(file, at: 0, half(2))
      try volume.write(file, at: 16_384, half(2))
      try volume.truncate(file, to: 16_384)
      #expect(volume.heldBackCount(file) == 1)
      try volume.write(file, at: 4096, half(2))
      #expect(try volume.read(file, at: 0, count: 16_384) == half(2) + half(2) + half(1) + half(1))
    }
  }

  /// Blocks written by one writer at a time, their halves sent in any order, some while they are written. Whatever
  /// the moment of a power cut: each block is whole, and the version that was last synced or sealed.
  /// - Parameter seed: even for mixtures that are told, odd for those that are all taken for whole.
  @Test(arguments: 0..<40) func aPowerCutFindsWholeBlocksOnly(seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed))
    let disk = SimulatedFileSystem()
    let volume = try Volume.open(testConfiguration("/volume"), files: disk)
    volume.holdBack { bytes, _ in seed % 2 == 1 || isWhole(Array(bytes)) }
    let directory = try volume.makeDirectory("base", in: .root, mode: 0o700)
    let file = try volume.create("1", in: directory.id, mode: 0o600).id
    try volume.sync()
    var cache = WriteBackCache(blocks: 6)
    var synced = [UInt8](repeating: 0, count: 6)
    for _ in 0..<random.pick(20...150) {
      let block = random.pick(0...5)
      switch random.pick(0...9) {
      case 0...3: cache.writeFirst(block)
      case 4...6: cache.writeSecond(block)
      case 7, 8: try cache.send(block, random.pick(0...2), to: volume, file)
      default:
        for block in 0...5 {
          cache.writeSecond(block)
          try cache.send(block, 2, to: volume, file)
        }
        try volume.sync(file)
        if random.oneIn(3) { try volume.seal() }
        synced = cache.versions
      }
    }
    for restart in 0..<3 {
      let survivor = try Volume.open(
        testConfiguration("/volume"), files: disk.restarted(seed: UInt64(restart)))
      let found = try #require(try survivor.contents()["base/1"] ?? nil)
      for block in 0..<found.count / 8192 {
        let bytes = Array(found[block * 8192..<(block + 1) * 8192])
        #expect(isWhole(bytes), "seed \(seed): block \(block) is half there")
        #expect(bytes[0] == synced[block], "seed \(seed): block \(block) is not as synced")
      }
      try survivor.close()
    }
  }

  /// Blocks, cuts, syncs of the file and seals in any order; the log is durable. What is found is what was there
  /// at the last sync or seal, with later cuts.
  @Test(arguments: 0..<40) func provisionalBlocksAreTakenBackByACrash(seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 500)
    let disk = SimulatedFileSystem()
    let volume = try Volume.open(testConfiguration("/volume"), files: disk)
    hold(volume)
    let directory = try volume.makeDirectory("base", in: .root, mode: 0o700)
    let file = try volume.create("1", in: directory.id, mode: 0o600).id
    var (now, sure): ([UInt8], [UInt8]) = ([], [])
    for step in 1...random.pick(10...80) {
      switch random.pick(0...9) {
      case 0...5:
        let (block, count) = (random.pick(0...7), random.pick(1...3))
        let version = UInt8(step)
        try volume.write(
          file, at: UInt64(block * 8192), (0..<2 * count).flatMap { _ in half(version) })
        if now.count < block + count {
          now += Array(repeating: 0, count: block + count - now.count)
        }
        for place in block..<block + count { now[place] = version }
      case 6:
        let size = random.pick(0...9)
        try volume.truncate(file, to: UInt64(size * 8192))
        now = cut(now, to: size)
        sure = cut(sure, to: size)
      case 7:
        try volume.confirm()
        sure = now
      case 8:
        try volume.sync(file)
        sure = now
      default:
        try volume.seal()
        sure = now
      }
    }
    #expect(try versions(volume) == now)
    try volume.sync()
    let survivor = try Volume.open(
      testConfiguration("/volume"), files: disk.restarted(seed: UInt64(seed)))
    #expect(try versions(survivor) == sure, "seed \(seed)")
    try survivor.close()
  }

  /// What one crash took back does not come again with what is written, synced or sealed after it and found by the next.
  @Test(arguments: [true, false]) func whatACrashTookBackStaysAway(isSealed: Bool) throws {
    let disk = SimulatedFileSystem()
    let volume = try Volume.open(testConfiguration("/volume"), files: disk)
    hold(volume)
    let directory = try volume.makeDirectory("base", in: .root, mode: 0o700)
    let file = try volume.create("1", in: directory.id, mode: 0o600).id
    for block in 0..<3 { try volume.write(file, at: UInt64(block * 8192), half(1) + half(1)) }
    try volume.sync(file)
    try volume.write(file, at: 8192, half(2) + half(2))
    try volume.write(file, at: 3 * 8192, half(2) + half(2))
    try volume.sync()
    let second = disk.restarted(seed: 1)
    let found = try Volume.open(testConfiguration("/volume"), files: second)
    hold(found)
    #expect(try versions(found) == [1, 1, 1])
    try found.write(file, at: 0, half(3) + half(3))
    if isSealed { try found.seal() } else { try found.sync(file) }
    #expect(try versions(found) == [3, 1, 1])
    let last = try Volume.open(testConfiguration("/volume"), files: second.restarted(seed: 2))
    #expect(try versions(last) == [3, 1, 1], "what the first crash took back is there again")
    try last.close()
  }

  private func cut(_ blocks: [UInt8], to size: Int) -> [UInt8] {
    blocks.prefix(size) + Array(repeating: 0, count: max(0, size - blocks.count))
  }

  /// The version of each block of the one file.
  private func versions(_ volume: Volume) throws -> [UInt8] {
    let found = try volume.readFile("base/1")
    var versions: [UInt8] = []
    for at in stride(from: 0, to: found.count, by: 8192) {
      try #require(isWhole(Array(found[at..<at + 8192])))
      versions.append(found[at])
    }
    return versions
  }

  // MARK: Set-up

  private func withVolume(_ body: (Volume, FileID) throws -> Void) async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(testConfiguration(directory))
      hold(volume)
      let parent = try volume.makeDirectory("base", in: .root, mode: 0o700)
      try body(volume, try volume.create("1", in: parent.id, mode: 0o600).id)
      try volume.close()
    }
  }

  private func hold(_ volume: Volume) {
    volume.holdBack { bytes, _ in isWhole(Array(bytes)) }
  }
}

/// Half a block, which tells its version in its first byte.
private func half(_ version: UInt8) -> [UInt8] { [UInt8](repeating: version, count: 4096) }

/// As a checksum would tell it.
private func isWhole(_ block: [UInt8]) -> Bool { block.allSatisfy { $0 == block[0] } }

/// What the kernel holds of a file: halves of blocks, written in two steps, sent one by one.
private struct WriteBackCache {
  private(set) var versions: [UInt8]
  private var halves: [[UInt8]]

  init(blocks: Int) {
    versions = .init(repeating: 0, count: blocks)
    halves = .init(repeating: [0, 0], count: blocks)
  }

  /// A writer that has come halfway; the former one has ended.
  mutating func writeFirst(_ block: Int) {
    writeSecond(block)
    guard versions[block] < 250 else { return }
    versions[block] += 1
    halves[block][0] = versions[block]
  }

  mutating func writeSecond(_ block: Int) { halves[block][1] = halves[block][0] }

  /// - Parameter part: 0 and 1 for a half, 2 for the block.
  func send(_ block: Int, _ part: Int, to volume: Volume, _ file: FileID) throws {
    let parts = part == 2 ? [0, 1] : [part]
    let bytes = parts.flatMap { half(halves[block][$0]) }
    try volume.write(file, at: UInt64(block * 8192 + parts[0] * 4096), bytes)
  }
}
