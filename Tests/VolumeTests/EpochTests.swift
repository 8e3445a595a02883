import DurableIO
import TestSupport
import Testing

@testable import Volume

@Suite struct EpochTests {
  @Test func blockMapAgreesWithADictionary() {
    var random = SeededRandom(seed: 4)
    var map = BlockMap()
    var model: [UInt32: UInt64] = [:]
    for _ in 0..<20_000 {
      let block = UInt32(random.below(3000))
      if random.below(500) == 0 {
        map.removeBlocks(from: block)
        model = model.filter { $0.key < block }
      } else {
        let place = UInt64(1 + random.below(1 << 39))
        map.set(block, to: place)
        model[block] = place
      }
      let probe = UInt32(random.below(3000))
      #expect(map.place(of: probe) == model[probe] ?? 0)
    }
    #expect(map.count == model.count)
    #expect(map.sorted().map(\.block) == model.keys.sorted())
    #expect(map.footprint < model.count * 30)
  }

  @Test func floorsTellWhatWasCutOff() async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(testConfiguration("\(directory)/v"))
      let id = try volume.writeFile("a", page(1) + page(2) + page(3) + page(4))
      let first = try volume.seal()
      #expect(first.files.map(\.floor) == [0])
      try volume.write(id, at: 3 * 8192, page(5))
      try volume.truncate(id, to: 2 * 8192)
      try volume.truncate(id, to: 4 * 8192)
      try volume.write(id, at: 3 * 8192, page(6))
      let second = try volume.seal()
      #expect(second.files.map(\.floor) == [2])
      #expect(second.files.map(\.blocks) == [[3]])
      try volume.write(id, at: 0, page(7))
      let third = try volume.seal()
      #expect(third.files.map(\.floor) == [.max])
      let expected = page(7) + page(2) + page(0) + page(6)
      #expect(try volume.readFile("a") == expected)
      for epoch in [first, second, third] {
        try volume.forget(epoch: epoch.number)
        try volume.destage()
        #expect(try volume.readFile("a") == expected)
      }
      try volume.unlink("a", in: .root)
      let again = try volume.writeFile("a", page(8))
      #expect(again != id)
      let fourth = try volume.seal()
      #expect(fourth.files.map(\.id) == [again])
      #expect(try volume.readFile("a") == page(8))
      try volume.close()
    }
  }

  @Test func branchReadsItsBaseUntilItWrites() async throws {
    try await withTemporaryDirectory { directory in
      let parent = try Volume.open(testConfiguration("\(directory)/parent"))
      let id = try parent.writeFile("a", page(1) + page(2) + page(3))
      var base = MemoryBaseView()
      try base.add(try parent.seal())
      try parent.close()
      let configuration = testConfiguration("\(directory)/branch")
      var branch = try Volume.open(configuration, base: base)
      #expect(try branch.readFile("a") == page(1) + page(2) + page(3))
      try branch.write(id, at: 8192 + 100, [9])
      try branch.truncate(id, to: 2 * 8192)
      try branch.truncate(id, to: 3 * 8192)
      let expected = page(1) + page(2).prefix(100) + [9] + page(2).dropFirst(101) + page(0)
      for _ in 0..<3 {
        #expect(try branch.readFile("a") == Array(expected))
        try branch.forget(epoch: try branch.seal().number)
        try branch.destage()
        #expect(try branch.readFile("a") == Array(expected))
        try branch.close()
        branch = try Volume.open(configuration, base: base)
      }
      #expect(try branch.create("b", in: .root, mode: 0o600).id > id)
      try branch.close()
    }
  }

  /// The unlink that let destaging skip a file is lost in the crash: the file must be whole again.
  @Test func fileOfALostUnlinkIsWhole() throws {
    for lossAfter in 1...12 {
      for seed in 0..<4 {
        let disk = SimulatedFileSystem()
        let volume = try Volume.open(FaultScenario.configuration, files: disk)
        try volume.writeFile("a", page(1) + page(2))
        let epoch = try volume.seal()
        try volume.unlink("a", in: .root)
        try volume.forget(epoch: epoch.number)
        disk.losePower(atSync: lossAfter)
        // Losing power in the middle of it is the point.
        try? volume.destage()
        let again = try Volume.open(
          FaultScenario.configuration, files: disk.restarted(seed: UInt64(seed)))
        let found = try FaultScenario.contents(again)
        #expect(found.isEmpty || same(found, ["a": page(1) + page(2)]))
      }
    }
  }

  @Test func freedSegmentsAndRemovedFilesLeaveTheDisk() throws {
    let disk = SimulatedFileSystem()
    let volume = try Volume.open(FaultScenario.configuration, files: disk)
    let id = try volume.writeFile("a", [UInt8](repeating: 1, count: 1 << 20))
    try volume.forget(epoch: try volume.seal().number)
    try volume.destage()
    try volume.unlink("a", in: .root)
    try volume.writeFile("b", [UInt8](repeating: 2, count: 1 << 20))
    let epoch = try volume.seal()
    try volume.destage()
    #expect(try disk.list("/v/log", operation: "test").count > 1)
    #expect(try volume.backing.identities().contains(id))
    try volume.forget(epoch: epoch.number)
    try volume.destage()
    #expect(volume.statistics.logSegments == 1)
    #expect(try volume.backing.identities() == [FileID(3)])
    #expect(volume.statistics.indexedBlocks == 0)
    try volume.close()
    #expect(try disk.list("/v/log", operation: "test").count == 1)
  }
}
