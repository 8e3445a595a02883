import Foundation
import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

/// Random histories, branch trees, snapshots, leases, windows and kills: what is promised opens and equals
/// the model, everything else is gone.
@Suite struct RetentionPropertyTests {
  /// Histories; each of some 60 steps and 12 rounds. `EXZO_RETENTION_SEEDS=20000` runs more of them.
  private static let seeds: [UInt64] = {
    let count = ProcessInfo.processInfo.environment["EXZO_RETENTION_SEEDS"].flatMap(UInt64.init)
    return (0..<(count ?? 2000) / 50).map { $0 * 50 }
  }()

  /// `EXZO_RETENTION_SEED=26` runs that one alone.
  private static let onlySeed = ProcessInfo.processInfo.environment["EXZO_RETENTION_SEED"]
    .flatMap(UInt64.init)

  @Test(arguments: seeds) func whatIsPromisedOpensAndTheRestGoes(first: UInt64) async throws {
    for seed in first..<first + 50 {
      if let only = Self.onlySeed, seed != only { continue }
      do {
        try await history(seed)
      } catch {
        Issue.record("seed \(seed): \(error)")
      }
    }
  }

  private func history(_ seed: UInt64) async throws {
    var world = try await RetentionWorld(seed: seed)
    let clock = WorldClock(world.now)
    var collector: HistoryCollector?
    for _ in 0..<60 {
      try await world.step()
      if world.chance(5) {
        clock.now = world.now
        collector = try await round(&world, collector, clock)
        try await world.checkPromises(samples: 4)
      }
    }
    try await world.checkRest(clock)
  }

  /// One round, killed at some call more often than not. Returns the collector where it lives on.
  private func round(
    _ world: inout RetentionWorld, _ before: HistoryCollector?, _ clock: WorldClock
  ) async throws -> HistoryCollector? {
    let failing = world.chance(4) ? Int.max : 1 + world.pick(12)
    let fault: FaultyObjectStore.Fault = world.chance(2) ? .before : .after
    let count = CallCounter()
    let store = FaultyObjectStore(world.store) { call in
      guard call.operation == .put || call.operation == .delete else { return nil }
      return count.next() == failing ? fault : nil
    }
    let seed = UInt64(world.pick(1 << 30))
    let fresh = world.collector(on: store, clock, seed: seed)
    let collector = world.chance(2) ? before ?? fresh : fresh
    do {
      _ = try await collector.collect(world.demands)
    } catch let error as HistoryError where error.code == .store {
      return nil
    }
    return collector
  }
}
