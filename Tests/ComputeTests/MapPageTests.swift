import PostgresFormat
import TestSupport
import Testing

@testable import Compute

@Suite struct MapPageTests {
  /// `fsm_logical_to_physical` for the lowest level.
  private func physical(ofLeaf leaf: UInt64) -> UInt32 {
    let slots = UInt64(FreeSpaceMapPage.slots)
    return UInt32(leaf + leaf / slots + leaf / slots / slots + 2)
  }

  @Test func leafPagesOfTheFreeSpaceMapAreFound() {
    let slots = UInt64(FreeSpaceMapPage.slots)
    #expect(slots == 4069)
    #expect(FreeSpaceMapPage.firstHeapBlock(ofBlock: 0) == nil)
    #expect(FreeSpaceMapPage.firstHeapBlock(ofBlock: 1) == nil)
    for leaf in [0, 1, 2, slots - 1, slots, slots + 1, 5 * slots - 1, 5 * slots, 1_000_000] {
      #expect(FreeSpaceMapPage.firstHeapBlock(ofBlock: physical(ofLeaf: leaf)) == leaf * slots)
    }
    // Between the last leaf of one page of the middle level and the first of the next lies that next page.
    #expect(FreeSpaceMapPage.firstHeapBlock(ofBlock: physical(ofLeaf: slots) - 1) == nil)
  }

  @Test func freeSpaceOfBlocksThatAreGoneIsForgotten() {
    var random = SeededRandom(seed: 5)
    for kept in [0, 1, 100, 4068, 4069, 5000] {
      var bytes = [UInt8](repeating: 0, count: 8192)
      for leaf in 0..<4069 { bytes[28 + 4095 + leaf] = UInt8(random.below(256)) }
      let before = bytes
      let changed = bytes.withUnsafeMutableBytes {
        FreeSpaceMapPage.clear(
          $0, block: physical(ofLeaf: 3), fromHeapBlock: UInt32(3 * 4069 + kept))
      }
      #expect(changed == (kept < 4069))
      guard changed else {
        #expect(bytes == before)
        continue
      }
      #expect(bytes[..<28] == before[..<28])
      #expect(bytes[4123..<4123 + kept] == before[4123..<4123 + kept])
      #expect(bytes[(4123 + kept)...].allSatisfy { $0 == 0 })
      #expect(bytes[28] == bytes[4123...].max())
    }
  }
}
