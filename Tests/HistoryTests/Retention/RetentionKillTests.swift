import ObjectStorage
import PostgresFormat
import TestSupport
import Testing

@testable import History

/// A collector that is killed at each of its changes to the store, and one that others work beside.
@Suite struct RetentionKillTests {
  /// A history in which a round has much to do: keyframes withdrawn and due, WAL, layers and lines to go.
  private func world(_ seed: UInt64, _ clock: WorldClock) async throws -> RetentionWorld {
    var world = try await RetentionWorld(seed: seed)
    world.window = 14_400
    for _ in 0..<40 {
      try await world.step()
      guard world.chance(6) else { continue }
      clock.now = world.now
      _ = try await world.collector(on: world.store, clock, seed: seed).collect(world.demands)
    }
    world.advance(7200)
    clock.now = world.now
    return world
  }

  /// Killed before and after the n-th put or delete, for each n that there is; then the next collector goes on.
  @Test(arguments: [UInt64](9000..<9004)) func killedAtAnyStepNothingPromisedIsLost(
    first: UInt64
  ) async throws {
    var kills = 0
    for seed in first * 10..<first * 10 + 4 { kills += try await killEverywhere(seed) }
    #expect(kills > 15)
  }

  private func killEverywhere(_ seed: UInt64) async throws -> Int {
    let clock = WorldClock(PostgresTimestamp(0))
    let world = try await world(seed, clock)
    var kills = 0
    for fault in [FaultyObjectStore.Fault.before, .after] {
      for step in 1... {
        var killed = world
        killed.store = world.store.copy()
        clock.now = world.now
        do {
          guard try await kill(&killed, at: step, fault, clock) else { break }
          kills += 1
          try await killed.checkPromises(samples: .max)
          let next = killed.collector(on: killed.store, clock, seed: 7)
          _ = try await next.collect(killed.demands)
          try await killed.checkPromises(samples: .max)
          if step % 3 == 1 { try await killed.checkRest(clock) }
        } catch {
          Issue.record("seed \(seed), killed \(fault) step \(step): \(error)")
        }
      }
    }
    return kills
  }

  /// Answers whether the round was killed.
  private func kill(
    _ world: inout RetentionWorld, at step: Int, _ fault: FaultyObjectStore.Fault,
    _ clock: WorldClock
  ) async throws -> Bool {
    let count = CallCounter()
    let store = FaultyObjectStore(world.store) { call in
      guard call.operation == .put || call.operation == .delete else { return nil }
      return count.next() == step ? fault : nil
    }
    do {
      _ = try await world.collector(on: store, clock, seed: 5).collect(world.demands)
      return false
    } catch let error as HistoryError where error.code == .store {
      return true
    }
  }

  /// Writers write, branches are opened, snapshots made and dropped between any two calls of a round.
  @Test(arguments: [UInt64](91_000..<91_060)) func whateverHappensDuringARoundIsSafe(
    seed: UInt64
  ) async throws {
    do {
      try await live(seed, withSecondCollector: false)
    } catch {
      Issue.record("seed \(seed): \(error)")
    }
  }

  /// A second collector does whole rounds between two calls of the first one.
  @Test(arguments: [UInt64](92_000..<92_060)) func twoCollectorsAreSafe(seed: UInt64) async throws {
    do {
      try await live(seed, withSecondCollector: true)
    } catch {
      Issue.record("seed \(seed): \(error)")
    }
  }

  private func live(_ seed: UInt64, withSecondCollector: Bool) async throws {
    let clock = WorldClock(PostgresTimestamp(0))
    let living = LivingWorld(try await RetentionWorld(seed: seed), clock, seed: seed)
    let hooked = HookedStore(await living.store) { _ in
      try await living.disturb(withSecondCollector: withSecondCollector)
    }
    let collector = await living.collector(on: hooked)
    for _ in 0..<12 {
      for _ in 0..<4 { try await living.step() }
      let demands = await living.beginRound()
      _ = try await collector.collect(demands)
      try await living.check()
    }
    try await living.checkRest()
  }
}

/// A world in which things happen while a collector works.
private actor LivingWorld {
  private var world: RetentionWorld
  private let clock: WorldClock
  private var random: SeededRandom
  private let second: HistoryCollector
  /// One thing after the other.
  private let gate = AsyncGate()

  init(_ world: RetentionWorld, _ clock: WorldClock, seed: UInt64) {
    self.world = world
    self.clock = clock
    random = SeededRandom(seed &+ 1)
    second = world.collector(on: world.store, clock, seed: seed &+ 2)
  }

  var store: MemoryObjectStore { world.store }

  func collector(on store: any ObjectStore) -> HistoryCollector {
    world.collector(on: store, clock, seed: 3)
  }

  func beginRound() -> [LineID: LineDemand] {
    clock.now = world.now
    return world.demands
  }

  func step() async throws { try await change { try await $0.step() } }
  func check() async throws { try await change { try await $0.checkPromises(samples: 4) } }
  func checkRest() async throws {
    let clock = clock
    try await change { try await $0.checkRest(clock) }
  }

  /// Now and then something happens, or the second collector has a round.
  func disturb(withSecondCollector: Bool) async throws {
    guard Int.random(in: 0..<8, using: &random) == 0 else { return }
    if withSecondCollector, Bool.random(using: &random) {
      let demands = beginRound()
      _ = try await second.collect(demands)
      return
    }
    try await step()
  }

  private func change(
    _ body: @Sendable (inout RetentionWorld) async throws -> Void
  ) async throws {
    try await gate.run { try await self.changeNow(body) }
  }

  private func changeNow(
    _ body: @Sendable (inout RetentionWorld) async throws -> Void
  ) async throws {
    var changed = world
    try await body(&changed)
    world = changed
  }
}
