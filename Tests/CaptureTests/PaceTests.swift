import PostgresFormat
import Testing

@testable import Capture

/// When chunks set out whose commits wait for the store.
@Suite struct PaceTests {
  private static let start = LSN(0x100_0000)

  private func action(
    _ state: CaptureState, at milliseconds: Int, _ durability: CaptureDurability = .objectStore
  ) -> CaptureState.SealAction {
    state.sealAction(
      now: .milliseconds(milliseconds), interval: .milliseconds(250), limit: 1 << 20,
      durability: durability)
  }

  @Test func chunksOnTheirWayAreSpreadOverTheTimeThatOneTakes() {
    var state = CaptureState(
      received: Self.start, uploaded: Self.start, timeline: TimelineID(1))
    #expect(state.pace(now: .zero, .objectStore) == .zero)
    // The first is known to have taken 40 ms.
    state.didSetOut(upTo: Self.start + 10, now: .zero)
    state.didUpload(upTo: Self.start + 10, in: .milliseconds(40))
    state.received = Self.start + 20
    state.firstUnsealed = .milliseconds(100)
    // None is on its way: at once.
    #expect(action(state, at: 100) == .seal(upTo: Self.start + 20))
    state.didSeal(upTo: Self.start + 20, firstCommit: nil, now: .milliseconds(100))
    state.didSetOut(upTo: Self.start + 20, now: .milliseconds(100))
    #expect(action(state, at: 101) == .wait(nil))
    state.received = Self.start + 30
    state.firstUnsealed = .milliseconds(102)
    #expect(action(state, at: 104) == .wait(.milliseconds(6)))
    #expect(action(state, at: 110) == .seal(upTo: Self.start + 30))
    // What was sealed for another reason waits no longer.
    state.didSeal(upTo: Self.start + 30, firstCommit: nil, now: .milliseconds(104))
    #expect(action(state, at: 104) == .wait(.milliseconds(6)))
    for time in [110, 120, 130] {
      #expect(state.pace(now: .milliseconds(time), .objectStore) == .zero)
      state.didSetOut(upTo: Self.start + 30, now: .milliseconds(time))
    }
    // Four are on their way: until one has arrived.
    #expect(state.pace(now: .seconds(9), .objectStore) == nil)
    state.didUpload(upTo: Self.start + 20, in: .milliseconds(40))
    #expect(state.pace(now: .milliseconds(140), .objectStore) == .zero)
  }

  @Test func whereNobodyWaitsOneIsOnItsWay() {
    var state = CaptureState(
      received: Self.start + 10, uploaded: Self.start, timeline: TimelineID(1))
    state.didSetOut(upTo: Self.start + 10, now: .zero)
    #expect(state.pace(now: .seconds(1), .local) == nil)
    state.received = Self.start + 20
    state.firstUnsealed = .zero
    #expect(action(state, at: 100, .local) == .wait(.milliseconds(150)))
    state.didUpload(upTo: Self.start + 10, in: .milliseconds(40))
    #expect(state.pace(now: .seconds(1), .local) == .zero)
  }
}
