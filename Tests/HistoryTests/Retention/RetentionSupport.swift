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

/// Runs something before each listing and each write; the calls before which it runs come one after the other.
struct HookedStore: ObjectStore {
  let base: any ObjectStore
  let hook: @Sendable (_ isWrite: Bool) async throws -> Void

  init(_ base: any ObjectStore, hook: @escaping @Sendable (Bool) async throws -> Void) {
    self.base = base
    self.hook = hook
  }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    try await hook(true)
    try await base.put(key, body)
  }
  func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    try await base.get(key, range: range)
  }
  func size(_ key: ObjectKey) async throws -> UInt64? { try await base.size(key) }
  func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    try await hook(false)
    return try await base.list(prefix: prefix, after: after, limit: limit)
  }
  func delete(_ key: ObjectKey) async throws {
    try await hook(true)
    try await base.delete(key)
  }
  func localFile(_ key: ObjectKey) -> String? { base.localFile(key) }
}
