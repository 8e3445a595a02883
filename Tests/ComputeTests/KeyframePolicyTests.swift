import History
import Testing

@testable import Compute

@Suite struct KeyframePolicyTests {
  /// A complete layer for which there is no room would have to wait until others are merged.
  @Test func withoutRoomKeyframesArePartialUnlessTheyMustBeComplete() {
    let policy = KeyframePolicy()
    func kind(isCrossable: Bool, hasRoom: Bool) -> KeyframeKind {
      policy.kind(
        changedBlocks: 10, walBytes: 1 << 30, isCrossable: isCrossable, hasRoom: hasRoom)
    }
    #expect(kind(isCrossable: true, hasRoom: true) == .complete)
    #expect(kind(isCrossable: true, hasRoom: false) == .partial)
    #expect(kind(isCrossable: false, hasRoom: false) == .complete)
    let always = KeyframePolicy(completeLayers: .always)
    #expect(
      always.kind(changedBlocks: 10, walBytes: 1, isCrossable: true, hasRoom: false) == .complete)
  }
}
