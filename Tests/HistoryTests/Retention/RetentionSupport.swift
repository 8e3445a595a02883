import DurableIO
import ObjectStorage
import PostgresFormat
import Synchronization
import TestSupport

@testable import History

final class CallCounter: Sendable {
  private let count = Mutex(0)
  func next() -> Int {
    count.withLock {
      $0 += 1
      return $0
    }
  }
}

final class SeededRandomSource: Sendable {
  private let random: Mutex<SeededRandom>
  init(_ seed: UInt64) { random = Mutex(SeededRandom(seed)) }
  func next() -> UInt64 { random.withLock { $0.next() } }
}

/// A time that a test sets.
final class WorldClock: Sendable {
  private let time: Mutex<PostgresTimestamp>
  init(_ time: PostgresTimestamp) { self.time = Mutex(time) }
  var now: PostgresTimestamp {
    get { time.withLock { $0 } }
    set { time.withLock { $0 = newValue } }
  }
}

func retentionEnvironment(
  _ store: any ObjectStore, random: SeededRandomSource,
  now: @escaping @Sendable () -> PostgresTimestamp
) -> HistoryEnvironment {
  HistoryEnvironment(
    store: store, fileSystem: SystemFileSystem(), threads: testThreads,
    spoolDirectory: "/nonexistent", now: now, uptime: { .seconds(now().rawValue / 1_000_000) },
    random: { random.next() })
}
