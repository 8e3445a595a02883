import PostgresFormat
import Testing

@testable import Compute

/// When a server that follows another is given up.
@Suite struct ReplayWatchTests {
  private let start = ContinuousClock.now

  private func sight(streaming: Bool, standby: Bool = true, paused: Bool = false)
    -> ReplayWatch.Sight
  {
    ReplayWatch.Sight(
      isStandby: standby, isPaused: paused, isStreaming: streaming, replayed: LSN(0x150_0000))
  }

  @Test func historyIsAskedOnlyWhenTheStreamIsGoneForLong() {
    var watch = ReplayWatch()
    var verdicts: [Int: ReplayWatch.Verdict] = [:]
    for second in 0..<40 {
      let verdict = watch.observe(
        sight(streaming: second < 5), at: start + .seconds(second))
      if verdict != .nothing { verdicts[second] = verdict }
    }
    // 10 s after the last good look, and each 10 s from then on.
    #expect(
      verdicts == [14: .compareWithStore, 24: .compareWithStore, 34: .compareWithStore])
  }

  @Test func aStreamThatComesBackIsWell() {
    var watch = ReplayWatch()
    for second in 0..<100 {
      #expect(
        watch.observe(sight(streaming: second % 9 == 0), at: start + .seconds(second)) == .nothing)
    }
  }

  @Test func pausedReplayAndPromotionEndIt() {
    var watch = ReplayWatch()
    guard case .end(let reason) = watch.observe(sight(streaming: true, paused: true), at: start)
    else {
      Issue.record("a server that has paused replay is kept")
      return
    }
    #expect(reason.contains("paused"))
    guard case .end = watch.observe(sight(streaming: true, standby: false), at: start) else {
      Issue.record("a server that writes is kept")
      return
    }
  }

  @Test func theConnectionStringQuotesItsDirectory() {
    let settings = Agent.replicaSettings("/da ta/it's/run")
    #expect(settings["primary_conninfo"]?.hasPrefix("host='/da ta/it\\'s/run' port=5432 ") == true)
    #expect(settings["wal_receiver_create_temp_slot"] == "on")
  }
}
