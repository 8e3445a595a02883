import DurableIO
import TestSupport
import Testing

@Suite struct DurabilityTests {
  /// What the directory's maker was told survives every power cut, names of parents included.
  @Test func aDurableDirectorySurvivesPowerCuts() throws {
    for seed in UInt64(1)...64 {
      let disk = SimulatedFileSystem()
      try disk.makeDirectory("/data", operation: "test")
      try disk.syncDirectory("/", operation: "test")
      try disk.makeDurableDirectory("/data/lines/ln-1/spool", operation: "test")
      try disk.replaceFile("/data/lines/ln-1/spool/a", with: [1, 2, 3], operation: "test")
      let after = disk.restarted(seed: seed)
      let read = try after.readFile("/data/lines/ln-1/spool/a", operation: "test")
      #expect(read == [1, 2, 3], "seed \(seed)")
    }
  }

  /// A directory that another made, and was cut off before it synced the parent.
  @Test func aDirectoryThatExistsGetsADurableName() throws {
    for seed in UInt64(1)...64 {
      let disk = SimulatedFileSystem()
      try disk.makeDirectory("/data", operation: "test")
      try disk.makeDurableDirectory("/data", operation: "test")
      try disk.replaceFile("/data/a", with: [1], operation: "test")
      let after = disk.restarted(seed: seed)
      #expect(try after.readFile("/data/a", operation: "test") == [1], "seed \(seed)")
    }
  }
}
