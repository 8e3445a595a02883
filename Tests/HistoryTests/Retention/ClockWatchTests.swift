import Foundation
import PostgresFormat
import Testing

@testable import History

/// A machine whose clocks a test sets.
private final class Machine {
  var watch = ClockWatch()

  /// - Parameters:
  ///   - wall: what the clock shows, seconds.
  ///   - uptime: seconds since the machine booted.
  func doubt(
    _ wall: Int64, _ uptime: Int64, boot: String = "a", mayLose: Bool = true
  ) -> ClockWatch.Doubt? {
    let reading = ClockWatch.Reading(
      time: PostgresTimestamp(wall * 1_000_000), uptime: .seconds(uptime), boot: boot)
    return watch.doubt(reading, mayLose: mayLose)
  }

  /// One whose clock has been believed at 1000 s, 100 s after the boot.
  static func known() -> Machine {
    let machine = Machine()
    #expect(machine.doubt(1000, 100, mayLose: false) == nil)
    return machine
  }
}

/// History is deleted by a clock that may be wrong: by one that is ahead, for good.
@Suite struct ClockWatchTests {
  private static let week: Int64 = 7 * 86_400
  private static let night: Int64 = 12 * 3600

  @Test func aClockThatGoesWithTimeIsBelieved() {
    let machine = Machine.known()
    let readings: [(wall: Int64, uptime: Int64)] = [
      (1300, 400), (1301, 400), (2500, 1000), (2600, 1500), (1_000_000, 999_000),
    ]
    for (wall, uptime) in readings {
      #expect(machine.doubt(wall, uptime) == nil, "\(wall), \(uptime)")
    }
  }

  /// It is put right before anything has gone.
  @Test func aClockThatIsAheadForARoundDeletesNothing() {
    let machine = Machine.known()
    let doubt = machine.doubt(1300 + Self.night, 400)
    #expect(doubt?.ahead == .seconds(Self.night))
    #expect(doubt?.remaining == ClockWatch.patience)
    #expect(doubt?.description.contains("43200 s ahead") == true)
    #expect(machine.doubt(1600, 700) == nil)
    // What was doubted before does not count.
    let again = machine.doubt(4200 + Self.night, 3300)
    #expect(again?.remaining == ClockWatch.patience)
  }

  @Test func aClockThatStaysAheadIsBelievedInTheEnd() {
    let machine = Machine.known()
    for passed in stride(from: Int64(0), to: 3600, by: 300) {
      let doubt = machine.doubt(1300 + Self.night + passed, 400 + passed)
      #expect(doubt?.remaining == ClockWatch.patience - .seconds(passed))
    }
    #expect(machine.doubt(4900 + Self.night, 4000) == nil)
    #expect(machine.doubt(5200 + Self.night, 4300) == nil)
  }

  @Test func aClockThatJumpsOnIsWatchedAnew() {
    let machine = Machine.known()
    #expect(machine.doubt(1300 + Self.night, 400) != nil)
    let doubt = machine.doubt(4900 + 2 * Self.night, 4000)
    #expect(doubt?.remaining == ClockWatch.patience)
  }

  /// How long it was off nobody knows: after a short while at once, else after an hour.
  @Test func aMachineThatWasOffCollectsAnHourLater() {
    #expect(Machine.known().doubt(1200, 60, boot: "b") == nil)
    let machine = Machine.known()
    #expect(machine.doubt(1000 + Self.week, 60, boot: "b") != nil)
    #expect(machine.doubt(4540 + Self.week, 3600, boot: "b") != nil)
    #expect(machine.doubt(4660 + Self.week, 3720, boot: "b") == nil)
  }

  /// Of a data directory that an earlier version or another machine left.
  @Test func anUnknownClockIsWatchedWhereThereIsHistory() throws {
    let machine = Machine()
    let doubt = machine.doubt(1000, 100)
    #expect(doubt != nil && doubt?.ahead == nil)
    #expect(doubt?.description.contains("not been watched") == true)
    // The next process goes on with it.
    var memory = CollectorMemory()
    memory.clock = machine.watch
    let next = Machine()
    next.watch = try CollectorMemory(json: memory.json()).clock
    #expect(next.doubt(4600, 3700) == nil)
  }

  /// What earlier versions wrote.
  @Test func aMemoryWithoutAClockIsRead() throws {
    let memory = try CollectorMemory(json: Data(#"{"unlisted":{},"forgotten":{}}"#.utf8))
    #expect(memory.clock == ClockWatch())
  }

  /// What else ends by the clock asks between two rounds, as often as it likes.
  @Test func toAskTakesNothingIn() {
    let machine = Machine()
    func believes(_ wall: Int64, _ uptime: Int64) -> Bool {
      machine.watch.believes(
        ClockWatch.Reading(
          time: PostgresTimestamp(wall * 1_000_000), uptime: .seconds(uptime), boot: "a"))
    }
    #expect(!believes(1000, 100), "before the first judgement")
    #expect(machine.doubt(1000, 100, mayLose: false) == nil)
    #expect(believes(1300, 400) && believes(500, 400))
    #expect(!believes(1300 + Self.night, 400), "before the next judgement")
    // A clock that creeps ahead.
    #expect(believes(1700, 400) && !believes(2500, 400))
    for passed in stride(from: Int64(0), to: 3600, by: 300) {
      #expect(machine.doubt(1300 + Self.night + passed, 400 + passed) != nil)
      #expect(!believes(1300 + Self.night + passed, 400 + passed))
    }
    #expect(machine.doubt(4900 + Self.night, 4000) == nil)
    #expect(believes(4900 + Self.night, 4000))
  }

  @Test func thisMachinesClocksGoOn() {
    let (first, second) = (ClockWatch.Reading.now(), ClockWatch.Reading.now())
    #expect(first.uptime > .zero && second.uptime >= first.uptime)
    #expect(!first.boot.isEmpty && first.boot == second.boot)
  }
}
