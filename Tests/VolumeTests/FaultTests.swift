import DurableIO
import Glibc
import TestSupport
import Testing

@testable import Volume

@Suite struct FaultTests {
  @Test(arguments: [UInt64(1), 2, 3])
  func powerLossAtAnySyncKeepsTheLastSyncedStateOrLater(seed: UInt64) throws {
    var sync = 1
    var reused: UInt64 = 0
    while true {
      let disk = SimulatedFileSystem()
      disk.losePower(atSync: sync)
      // Power lost while the volume is being made: there is nothing to check but that it can be
      // made again.
      guard let scenario = try? FaultScenario(disk: disk, seed: seed) else {
        try #require(disk.hasLostPower)
        let again = disk.restarted(seed: seed)
        try Volume.open(FaultScenario.configuration, files: again).close()
        sync += 1
        continue
      }
      scenario.run(120)
      reused += scenario.volume.statistics.segmentsReused
      for restart in 0..<4 {
        try scenario.checkSurvivor(
          seed: UInt64(restart), "seed \(seed), power lost at sync \(sync)")
      }
      if sync > disk.syncCount { break }
      sync += 1
    }
    #expect(sync > 20)
    #expect(reused > 0, "no log segment was written over")
  }

  @Test(arguments: [EIO, ENOSPC])
  func anyFailingCallLeavesWhatWasSynced(code: Int32) throws {
    var call = 1
    while true {
      let disk = SimulatedFileSystem()
      disk.failCall(call, code: code)
      let scenario: FaultScenario
      do {
        scenario = try FaultScenario(disk: disk, seed: 11)
      } catch {
        disk.stopFailing()
        try Volume.open(FaultScenario.configuration, files: disk).close()
        call += 1
        continue
      }
      scenario.run(80)
      let calls = disk.callCount
      disk.stopFailing()
      let found = try FaultScenario.contents(scenario.volume)
      #expect(same(found, scenario.model), "call \(call) failed")
      try scenario.checkSurvivor(seed: UInt64(call), "call \(call) failed with \(code)")
      if call > calls { break }
      call += 1
    }
    #expect(call > 100)
  }

  @Test func failedSyncPoisonsTheVolumeForEver() throws {
    let disk = SimulatedFileSystem()
    let volume = try Volume.open(FaultScenario.configuration, files: disk)
    try volume.writeFile("a", [1])
    disk.failCall(1)
    for _ in 0..<3 {
      let error = #expect(throws: VolumeError.self) { try volume.sync() }
      #expect(error?.code == .poisoned)
    }
    #expect(throws: VolumeError.self) { try volume.seal() }
  }

  @Test func fullDiskRefusesTheWriteAndLaterTakesIt() throws {
    let disk = SimulatedFileSystem()
    let volume = try Volume.open(FaultScenario.configuration, files: disk)
    let file = try volume.writeFile("a", page(1))
    disk.failCall(1, code: ENOSPC, sticky: true)
    let error = #expect(throws: VolumeError.self) { try volume.write(file, at: 0, page(2)) }
    #expect(error?.code == .diskFull)
    disk.stopFailing()
    #expect(try volume.readFile("a") == page(1))
    try volume.write(file, at: 0, page(3))
    try volume.close()
    let again = try Volume.open(FaultScenario.configuration, files: disk)
    #expect(try again.readFile("a") == page(3))
  }

  @Test func damagedRecordBeforeTheDurableEndIsNamed() throws {
    let disk = SimulatedFileSystem()
    var volume = try Volume.open(FaultScenario.configuration, files: disk)
    for number in 0..<40 {
      try volume.writeFile("f\(number)", page(UInt8(number)))
      try volume.sync()
    }
    try volume.close()
    disk.flipByte("/v/log/00000001", at: 20_000)
    let before = try disk.list("/v/log", operation: "test")
    let error = #expect(throws: VolumeError.self) {
      _ = try Volume.open(FaultScenario.configuration, files: disk)
    }
    #expect(error?.code == .damaged)
    #expect(error?.message.contains("/v/log/00000001: no valid record") == true)
    #expect(try disk.list("/v/log", operation: "test") == before)
    disk.flipByte("/v/log/00000001", at: 20_000)
    volume = try Volume.open(FaultScenario.configuration, files: disk)
    #expect(try volume.readFile("f39") == page(39))
  }

  @Test func missingSegmentIsNamed() throws {
    let disk = SimulatedFileSystem()
    let volume = try Volume.open(FaultScenario.configuration, files: disk)
    for number in 0..<60 {
      try volume.writeFile("f\(number)", page(UInt8(number)))
      try volume.sync()
    }
    try volume.close()
    try disk.unlink("/v/log/00000002", operation: "test")
    let error = #expect(throws: VolumeError.self) {
      _ = try Volume.open(FaultScenario.configuration, files: disk)
    }
    #expect(error?.code == .damaged)
  }

  /// What a process that died had written and not synced is in the page cache only, in several segments. Whoever opens
  /// the volume goes on from it; then the power is cut.
  @Test(arguments: 0..<20) func aPowerCutAfterADeadProcessTakesNothingThatWasFound(
    seed: Int
  ) throws {
    let disk = SimulatedFileSystem()
    let dead = try Volume.open(FaultScenario.configuration, files: disk)
    for number in 0..<40 { try dead.writeFile("f\(number)", page(UInt8(number))) }
    #expect(try disk.list("/v/log", operation: "test").count > 2)
    let volume = try Volume.open(FaultScenario.configuration, files: disk)
    try volume.writeFile("last", page(41))
    try volume.sync()
    let found = try volume.contents()
    let survivor = try Volume.open(
      FaultScenario.configuration, files: disk.restarted(seed: UInt64(seed)))
    #expect(try survivor.contents() == found)
    try survivor.close()
  }

  @Test func damagedStateFileIsNamed() throws {
    let disk = SimulatedFileSystem()
    try Volume.open(FaultScenario.configuration, files: disk).close()
    disk.flipByte("/v/state", at: 90)
    let error = #expect(throws: VolumeError.self) {
      _ = try Volume.open(FaultScenario.configuration, files: disk)
    }
    #expect(error?.message == "read volume state: /v/state is damaged")
  }
}
