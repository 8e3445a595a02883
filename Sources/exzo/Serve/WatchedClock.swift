import History
import Synchronization

/// The watch over the machine's clock: moved on by the collector, asked by all that end promises by the time.
final class WatchedClock: Sendable {
  private let state: Mutex<ClockWatch>

  init(_ watch: ClockWatch) { state = Mutex(watch) }

  /// To be kept for the next process.
  var watch: ClockWatch { state.withLock { $0 } }

  /// Whether the machine's clock is doubted now, also before the collector's first round and between two of them.
  var isDoubted: Bool { !watch.believes(.now()) }

  /// Takes a reading in; see ``ClockWatch/doubt(_:mayLose:)``.
  func doubt(_ reading: ClockWatch.Reading, mayLose: Bool) -> ClockWatch.Doubt? {
    state.withLock { $0.doubt(reading, mayLose: mayLose) }
  }
}
