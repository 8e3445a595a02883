import TestSupport
import Testing

@testable import Volume

@Suite struct ChangedBlocksTests {
  @Test func agreesWithSetsOverRandomEpochs() throws {
    var random = SeededRandom(seed: 21)
    var changes = ChangedBlocks()
    var model: [FileID: (floor: UInt32, blocks: Set<UInt32>)] = [:]
    for round in 0..<2000 {
      var epoch: [EpochFile] = []
      for number in 2..<UInt64(2 + random.below(6)) {
        let floor = random.oneIn(3) ? UInt32(random.below(700)) : .max
        let blocks = Set((0..<random.below(40)).map { _ in UInt32(random.below(700)) })
        epoch.append(EpochFile(id: FileID(number), floor: floor, blocks: blocks.sorted()))
        var known = model[FileID(number)] ?? (.max, [])
        if floor != .max {
          known.floor = min(known.floor, floor)
          known.blocks = known.blocks.filter { $0 < floor }
        }
        known.blocks.formUnion(blocks)
        model[FileID(number)] = known
      }
      changes.add(epoch)
      if random.oneIn(50) {
        let gone = FileID(UInt64(2 + random.below(6)))
        changes.keep { $0 != gone }
        model[gone] = nil
      }
      guard round % 20 == 0 else { continue }
      let files = changes.epochFiles()
      try #require(files.map(\.id) == model.keys.sorted())
      for file in files {
        try #require(file.floor == model[file.id]?.floor)
        try #require(file.blocks == model[file.id]?.blocks.sorted())
      }
      try #require(changes.count == model.values.reduce(0) { $0 + $1.blocks.count })
      let again = try #require(ChangedBlocks.decode(changes.encode(epoch: UInt64(round))))
      try #require(again.changes == changes && again.epoch == UInt64(round))
    }
  }

  @Test func everyDamagedByteIsSeen() {
    var changes = ChangedBlocks()
    changes.add([EpochFile(id: FileID(9), floor: 3, blocks: [0, 2, 700])])
    let bytes = changes.encode(epoch: 4)
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 0x10
      #expect(ChangedBlocks.decode(damaged) == nil, "byte \(index)")
    }
    for count in bytes.indices { #expect(ChangedBlocks.decode(Array(bytes[..<count])) == nil) }
  }
}

extension ChangedBlocksTests {
  /// The example of docs/formats/changed-blocks.md.
  @Test func documentedExample() throws {
    let text = """
      45 58 5a 4f 48 44 54 31  54 73 c5 a7 04 00 00 00
      00 00 00 00 01 00 00 00  09 00 00 00 00 00 00 00
      03 00 00 00 01 00 00 00  05 00 00 00 00 00 00 00
      """
    let bytes = text.split(whereSeparator: \.isWhitespace).map { UInt8($0, radix: 16)! }
    let (changes, epoch) = try #require(ChangedBlocks.decode(bytes))
    #expect(epoch == 4)
    #expect(changes.epochFiles().map(\.id) == [FileID(9)])
    #expect(changes.epochFiles().map(\.floor) == [3])
    #expect(changes.epochFiles().map(\.blocks) == [[0, 2]])
    #expect(changes.encode(epoch: epoch) == bytes)
  }
}
