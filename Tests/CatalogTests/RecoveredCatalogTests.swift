import PostgresClient
import TestSupport
import Testing

@testable import Catalog

/// A recovered catalog, and the database that it is put into.
@Suite(.serialized, .needsPostgres()) struct RecoveredCatalogTests {
  private static let projects: @Sendable (PostgresConnection) throws -> String? = {
    try $0.query("SELECT count(*) FROM exzo.projects").first?[0]
  }

  private func stored(_ setup: JournalSetup) async throws -> RecoveredCatalog {
    try await setup.seed(projects: 2)
    try await setup.journal().publishAll()
    return try await RecoveredCatalog.load(setup.store)
  }

  @Test func aRehearsalLeavesTheDatabaseAsItWas() async throws {
    try await JournalSetup.with { setup in
      let copy = try await stored(setup)
      let target = try await setup.emptyDatabase()
      try await copy.rehearse(in: target, token: "token")
      let schema = try await setup.asked(target) {
        try $0.query("SELECT to_regnamespace('exzo')::text").first?[0]
      }
      #expect(schema == nil)
      try await copy.restore(into: target, token: "token")
      #expect(try await setup.asked(target, Self.projects) == "2")
      // One that goes on finds its own mark.
      try await copy.rehearse(in: target, token: "token")
      #expect(try await setup.asked(target, Self.projects) == "2")
    }
  }

  @Test func aRehearsalMeetsWhatStandsAgainstARestore() async throws {
    try await JournalSetup.with { setup in
      let copy = try await stored(setup)
      let target = try await setup.emptyDatabase()
      try await setup.asked(target) {
        _ = try $0.execute(
          """
          CREATE SCHEMA exzo;
          CREATE TABLE exzo.migrations (number int PRIMARY KEY, title text);
          INSERT INTO exzo.migrations VALUES (99999, 'of tomorrow')
          """)
      }
      let error = await #expect(throws: CatalogError.self) {
        try await copy.rehearse(in: target, token: "token")
      }
      #expect(error?.code == .tooNew)
    }
  }
}
