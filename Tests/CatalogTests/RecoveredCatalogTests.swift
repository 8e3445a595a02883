import ObjectStorage
import PostgresClient
import Synchronization
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

  private func attempt(
    _ copy: RecoveredCatalog, _ target: ConnectionParameters, _ isRehearsal: Bool
  ) async throws {
    if isRehearsal { return try await copy.rehearse(in: target, token: "token") }
    try await copy.restore(into: target, token: "token")
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

  @Test func aDatabaseThatAnInstallationUsesIsLeftAsItIs() async throws {
    try await JournalSetup.with { setup in
      let copy = try await stored(setup)
      try await setup.seed(projects: 1, from: 50)
      // Also one that another recovery has filled.
      let filled = try await setup.emptyDatabase()
      try await copy.restore(into: filled, token: "another")
      for (target, projects) in [(setup.parameters, "3"), (filled, "2")] {
        for isRehearsal in [true, false] {
          let error = await #expect(throws: CatalogError.self) {
            try await attempt(copy, target, isRehearsal)
          }
          #expect(error?.code == .server)
          let text = error?.message ?? ""
          #expect(text.contains("\(target)") && text.contains("--metadata-url"), "\(text)")
          #expect(try await setup.asked(target, Self.projects) == projects)
        }
      }
    }
  }

  /// The end is in the database before the data directory knows of it.
  @Test func aRecoveryThatHasEndedIsNotDoneAgain() async throws {
    try await JournalSetup.with { setup in
      let copy = try await stored(setup)
      let target = try await setup.emptyDatabase()
      try await copy.restore(into: target, token: "token")
      try await setup.asked(target) { connection in
        let tx = CatalogTransaction(connection: connection)
        try tx.finishRecovery()
        #expect(try tx.unfinishedRecovery() == nil)
        _ = try connection.execute("DELETE FROM exzo.projects WHERE id = 'p1'")
      }
      try await copy.restore(into: target, token: "token")
      #expect(try await setup.asked(target, Self.projects) == "1")
    }
  }

  /// The installation that is to be taken over is at work: it stores bases, and deletes what they make needless.
  @Test func whatIsDeletedWhileItIsReadIsNoDamage() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await journal.publishAll()
      try await setup.seed(projects: 1)
      try await journal.publish()
      let store = StoreAtWork(base: setup.store) {
        try await journal.writeBase()
        try await setup.seed(projects: 1, from: 1)
        try await journal.publishAll()
      }
      let copy = try await RecoveredCatalog.loadWhileWritten(store)
      #expect(try await setup.restored(copy, Self.projects) == "2")
      // What is damaged stays so.
      for base in try await JournalKeys.list(JournalKeys.basePrefix, setup.store) {
        try await setup.store.put(base.key, .bytes([1, 2, 3]))
      }
      let error = await #expect(throws: CatalogError.self) {
        _ = try await RecoveredCatalog.loadWhileWritten(setup.store)
      }
      #expect(error?.code == .damaged)
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

/// A store in which something is done between a reader's listings and its first read.
private final class StoreAtWork: ObjectStore {
  private let base: any ObjectStore
  private let work: @Sendable () async throws -> Void
  private let isDone = Mutex(false)

  init(base: any ObjectStore, work: @escaping @Sendable () async throws -> Void) {
    self.base = base
    self.work = work
  }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws { try await base.put(key, body) }
  func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    let isFirst = isDone.withLock { isDone in
      defer { isDone = true }
      return !isDone
    }
    if isFirst { try await work() }
    return try await base.get(key, range: range)
  }
  func size(_ key: ObjectKey) async throws -> UInt64? { try await base.size(key) }
  func list(
    prefix: String, after: ObjectKey?, limit: Int
  ) async throws -> [ObjectListing] {
    try await base.list(prefix: prefix, after: after, limit: limit)
  }
  func delete(_ key: ObjectKey) async throws { try await base.delete(key) }
  func localFile(_ key: ObjectKey) -> String? { nil }
}
