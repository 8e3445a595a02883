import TestSupport
import Testing

@testable import Catalog

/// What counts as a write, for the journal and for those who keep what they have read.
@Suite(.serialized, .needsPostgres()) struct CatalogActivityTests {
  @Test func whatWasReadHoldsUntilSomethingIsWritten() async throws {
    try await JournalSetup.with { setup in
      let catalog = setup.catalog
      let journal = try await setup.journal()
      try await journal.publishAll()
      let mark = try #require(catalog.activity.restingMark)
      // There is nothing to claim: an UPDATE of no row.
      let claimed = try await catalog.write {
        try $0.claimOperation(for: "w", at: JournalSetup.now)
      }
      #expect(claimed == nil)
      #expect(catalog.activity.restingMark == mark)
      #expect(!journal.isBehind)

      try await catalog.write { tx in
        #expect(catalog.activity.restingMark == nil)
        try tx.set("shade", to: "green")
      }
      let written = try #require(catalog.activity.restingMark)
      #expect(written != mark)
      #expect(journal.isBehind)

      // Whether a write that failed has taken effect is not known.
      await #expect(throws: CancellationError.self) {
        try await catalog.write { _ in throw CancellationError() }
      }
      #expect(catalog.activity.restingMark != written)
    }
  }
}
