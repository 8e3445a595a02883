import DurableIO
import TestSupport
import Testing

@testable import Volume

/// Log segments that are written over once nothing needs their records.
@Suite struct SegmentReuseTests {
  /// Old records lie behind the new ones, with valid checksums.
  @Test(arguments: 0..<20) func oldRecordsAreNeverTakenForNewOnes(seed: Int) throws {
    let disk = SimulatedFileSystem()
    var random = SeededRandom(seed: UInt64(seed))
    var volume = try Volume.open(FaultScenario.configuration, files: disk)
    try fill(volume, rounds: 6, &random)
    #expect(volume.statistics.segmentsReused > 0)
    // Some of it synced, some not; then the process dies, and its successor's machine loses power.
    for number in 0..<random.pick(1...30) {
      try volume.writeFile("f\(number % 7)", page(UInt8(random.pick(1...250))))
      if random.below(4) == 0 { try volume.sync() }
    }
    let atDeath = try volume.contents()
    volume = try Volume.open(FaultScenario.configuration, files: disk)
    #expect(try volume.contents() == atDeath)
    try fill(volume, rounds: 4, &random)
    #expect(volume.statistics.segmentsReused > 0)
    let synced = try volume.contents()
    let survivor = try Volume.open(
      FaultScenario.configuration, files: disk.restarted(seed: UInt64(seed)))
    #expect(try survivor.contents() == synced)
    try survivor.close()
  }

  @Test func aSegmentThatSomebodyReadsIsNotWrittenOver() throws {
    let disk = SimulatedFileSystem()
    var random = SeededRandom(seed: 3)
    let volume = try Volume.open(FaultScenario.configuration, files: disk)
    let file = try volume.writeFile("read", (1...30).flatMap { page(UInt8($0)) })
    let view = try volume.seal()
    try volume.forget(epoch: view.number)
    try volume.destage()
    try fill(volume, rounds: 6, &random)
    #expect(volume.statistics.segmentsReused > 0)
    try withUnsafeTemporaryAllocation(byteCount: blockSize, alignment: 16) { buffer in
      for block in 0..<30 {
        try view.readBlock(file: file, block: UInt32(block), into: buffer)
        #expect(same(Array(buffer), page(UInt8(block + 1))), "block \(block)")
      }
    }
  }

  @Test func aClosedVolumeKeepsNoRetiredSegment() throws {
    let disk = SimulatedFileSystem()
    var random = SeededRandom(seed: 4)
    let volume = try Volume.open(FaultScenario.configuration, files: disk)
    try fill(volume, rounds: 4, &random)
    let segments = { try disk.list("/v/log", operation: "test").count }
    #expect(try segments() > volume.statistics.logSegments)
    try volume.close()
    #expect(try segments() == volume.statistics.logSegments)
  }

  /// Writes several segments a round, and frees them.
  private func fill(_ volume: Volume, rounds: Int, _ random: inout SeededRandom) throws {
    for _ in 0..<rounds {
      for _ in 0..<60 {
        try volume.writeFile(
          "f\(random.below(7))", page(UInt8(random.pick(1...250))) + page(UInt8(random.pick(1...9)))
        )
      }
      // No view of it is kept: whoever has one may read it.
      try volume.forget(epoch: try volume.seal().number)
      try volume.destage()
    }
  }
}
