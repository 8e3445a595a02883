import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

/// Random histories, branch trees, snapshots, leases, windows and kills: what is promised opens and equals
/// the model, everything else is gone.
@Suite struct RetentionPropertyTests {
  /// Histories; each of some 60 steps and 12 rounds.
  private static let seeds: [UInt64] = (0..<40).map { $0 * 50 }

  @Test(arguments: seeds) func whatIsPromisedOpensAndTheRestGoes(first: UInt64) async throws {
    for seed in first..<first + 50 {
      // In seeds 26, 1092, 1361 and at least one more of 2,000 a promise is broken: why `--collect-history` is
      // refused. To be mended before it is not.
      await withKnownIssue("seed \(seed)", isIntermittent: true) { try await history(seed) }
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
    try await checkRest(&world, clock)
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
    let fresh = collector(on: store, world, clock, seed: UInt64(world.pick(1 << 30)))
    let collector = world.chance(2) ? before ?? fresh : fresh
    do {
      _ = try await collector.collect(world.demands)
    } catch let error as HistoryError where error.code == .store {
      return nil
    }
    return collector
  }

  private func collector(
    on store: any ObjectStore, _ world: RetentionWorld, _ clock: WorldClock, seed: UInt64
  ) -> HistoryCollector {
    HistoryCollector(
      environment: retentionEnvironment(
        store, random: SeededRandomSource(seed), now: { clock.now }),
      policy: world.policy)
  }

  /// Promises stand still, time goes on: then exactly what is needed is left.
  private func checkRest(_ world: inout RetentionWorld, _ clock: WorldClock) async throws {
    let start = world.windowStart.advanced(by: .zero - world.policy.margin)
    for id in world.lines.keys.sorted() where world.lines[id]!.hasBranch {
      try await world.writeManifest(id)
    }
    // What was evicted below the floor is not promised, and seeking it fails.
    world.frozen = Dictionary(
      uniqueKeysWithValues: world.lines.keys.map { ($0, world.moments($0, since: start)) })
    for id in world.lines.keys where world.frozen![id]!.isEmpty {
      world.frozen![id] = [world.lines[id]!.end]
    }
    world.now = world.now.advanced(by: .seconds(200_000))
    let collector = collector(on: world.store, world, clock, seed: 1)
    for _ in 0..<5 {
      clock.now = world.now
      _ = try await collector.collect(world.demands)
      world.now = world.now.advanced(by: world.policy.grace + .seconds(1))
    }
    try await checkExactly(&world)
  }

  private func checkExactly(_ world: inout RetentionWorld) async throws {
    let needed = try await world.neededKeys()
    let living = world.livingLines
    for key in world.store.keys {
      let parts = key.split(separator: "/")
      let line = LineID(rawValue: String(parts[1]))
      guard living.contains(line) else { throw RetentionWorld.Broken("'\(key)' of a dead line") }
      switch parts[2] {
      case "wal", "layers", "keyframes":
        guard needed.contains(key) else { throw RetentionWorld.Broken("'\(key)' is left") }
      case "manifest", "evicted":
        let prefix = "lines/\(line)/\(parts[2])/"
        let count = world.store.keys.filter { $0.hasPrefix(prefix) }.count
        guard count <= 2 else { throw RetentionWorld.Broken("\(count) of '\(prefix)'") }
      default: break
      }
    }
  }
}
