import ObjectStorage
import TestSupport
import Testing

@testable import Catalog

/// Whoever waits until a change is in the store.
@Suite(.serialized, .needsPostgres()) struct JournalSettleTests {
  /// Runs `body` with a change that waits for the store, which does not answer until its rule is taken away. Afterwards
  /// the store has what the catalog has.
  private func whileTheStoreIsAway(
    _ body: (FaultyObjectStore, CatalogJournal) async throws -> Void
  ) async throws {
    try await JournalSetup.with { setup in
      let store = FaultyObjectStore(setup.store)
      let journal = try await setup.journal(on: store)
      try await journal.publishAll()
      store.setRule { _ in .before }
      let publishing = Task { try await journal.run() }
      try await setup.catalog.write { try $0.set("shade", to: "green") }
      try await body(store, journal)
      publishing.cancel()
      try await publishing.value
      try await setup.compare()
    }
  }

  @Test func settlingWithoutAnAnswerSaysThatTheChangeIsHereOnly() async throws {
    try await whileTheStoreIsAway { store, journal in
      let error = await #expect(throws: CatalogError.self) {
        try await journal.settle(timeout: .milliseconds(300))
      }
      #expect(error?.code == .unpublished)
      #expect(journal.status.exposure != nil)
      store.setRule(nil)
      try await journal.settle(timeout: .seconds(20))
      #expect(!journal.isBehind)
    }
  }

  /// One caller's patience ends for that caller alone.
  @Test func whoGivesUpWakesNobodyElse() async throws {
    try await whileTheStoreIsAway { store, journal in
      let patient = Task { try await journal.settle(timeout: .seconds(60)) }
      while journal.state.withLock({ $0.waiters.isEmpty }) {
        try await Task.sleep(for: .milliseconds(5))
      }
      await #expect(throws: CatalogError.self) {
        try await journal.settle(timeout: .milliseconds(100))
      }
      #expect(journal.state.withLock { $0.waiters.count } == 1)
      store.setRule(nil)
      try await patient.value
    }
  }
}
