import APITypes
import Foundation
import Logging
import ObjectStorage
import PostgresClient
import PostgresFormat
import Synchronization
import TestSupport
import Testing

@testable import Catalog

/// The catalog in the object store, and its way back into a database.
@Suite(.serialized, .needsPostgres()) struct JournalTests {
  // MARK: what comes back

  @Test func everyTableButTheJournalsOwnIsInIt() async throws {
    try await JournalSetup.with { setup in
      let tables = try await setup.query(
        """
        SELECT c.relname, (SELECT count(*) FROM pg_trigger t
          WHERE t.tgrelid = c.oid AND t.tgname IN ('journal_rows', 'journal_updates'))::text AS n
        FROM pg_class c WHERE c.relnamespace = 'exzo'::regnamespace AND c.relkind = 'r'
        """)
      #expect(tables.count > 20)
      for row in tables {
        let isOwn = row[0].hasPrefix("journal_") || row[0] == "migrations"
        #expect(row[1] == (isOwn ? "0" : "2"), "\(row[0])")
      }
    }
  }

  /// Also a table that a later migration brings: nothing names tables one by one.
  @Test func rowsOfATableThatNobodyKnowsComeBack() async throws {
    try await JournalSetup.with { setup in
      let later = Migration(
        number: 900, title: "later",
        sql: """
          CREATE TABLE exzo.widgets (a text, b int, body bytea, at timestamptz, PRIMARY KEY (a, b));
          """)
      try await setup.apply(later)
      let journal = try await setup.journal()
      try await journal.publishAll()
      try await setup.execute(
        """
        INSERT INTO exzo.widgets VALUES ('x', 1, '\\xdeadbeef', now()), ('y', 2, NULL, NULL);
        UPDATE exzo.widgets SET b = 3, body = '\\x00' WHERE a = 'y';
        DELETE FROM exzo.widgets WHERE a = 'x';
        INSERT INTO exzo.widgets VALUES ('x', 1, '\\xff', '2026-11-25 01:02:03.456789+00')
        """)
      try await journal.settle(timeout: .seconds(10), running: true)
      try await setup.compare(after: [later])
    }
  }

  @Test func whatWasWrittenChangedAndDeletedIsThereAgain() async throws {
    try await JournalSetup.with { setup in
      try await setup.seed(projects: 5)
      let journal = try await setup.journal()
      try await journal.publishAll()
      try await setup.seed(projects: 3, from: 100)
      try await setup.catalog.write { tx in
        for number in [1, 100] {
          var project = try #require(try tx.project(ProjectID("p\(number)")))
          project.name = "renamed \"\(number)\" ü"
          project.deletedAt = JournalSetup.now
          try tx.update(project)
        }
        _ = try tx.nextAPIKeyID()
        _ = try tx.nextDatabaseID()
        try tx.set("shade", to: "green")
      }
      try await setup.execute("DELETE FROM exzo.projects WHERE id = 'p2'")
      try await journal.settle(timeout: .seconds(10), running: true)
      try await setup.compare()
    }
  }

  /// Writers at work all the time; at any moment the store holds a state that the database had.
  @Test func concurrentWritersLeaveAStateThatHeldTogether() async throws {
    try await JournalSetup.with { setup in
      try await setup.execute(
        """
        INSERT INTO exzo.settings SELECT 'account ' || n, '100' FROM generate_series(1, 10) AS n
        """)
      let journal = try await setup.journal()
      try await journal.publishAll()
      let publishing = Task { try await journal.run() }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for worker in 0..<4 {
          group.addTask {
            var random = SeededRandom(seed: UInt64(71 + worker))
            for _ in 0..<60 {
              let pair = [
                Int.random(in: 1...10, using: &random), Int.random(in: 1...10, using: &random),
              ]
              try await setup.catalog.write { tx in
                // In one order, so that two never wait for each other.
                for (place, sign) in [(pair.min()!, "+"), (pair.max()!, "-")] {
                  try tx.run(
                    """
                    UPDATE exzo.settings SET value = (value::int \(sign) 7)::text
                    WHERE name = 'account \(place)'
                    """)
                }
              }
            }
          }
        }
        group.addTask {
          for _ in 0..<6 {
            let copy = try await RecoveredCatalog.load(setup.store)
            let sum = try await setup.restored(copy) {
              try $0.query(
                "SELECT sum(value::int)::text FROM exzo.settings WHERE name ~ '^account'"
              )
              .first?[0]
            }
            #expect(sum == "1000")
          }
        }
        try await group.waitForAll()
      }
      try await journal.settle(timeout: .seconds(10))
      publishing.cancel()
      try await publishing.value
      try await setup.compare()
    }
  }

  @Test func whatWasRolledBackIsNotInIt() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await journal.publishAll()
      let before = try await setup.objects()
      struct Abandoned: Error {}
      await #expect(throws: Abandoned.self) {
        try await setup.catalog.write { tx in
          try tx.set("never", to: "there")
          throw Abandoned()
        }
      }
      try await journal.settle(timeout: .seconds(10), running: true)
      #expect(try await setup.objects() == before)
    }
  }

  @Test func aWriteThatChangesNothingStoresNothing() async throws {
    try await JournalSetup.with { setup in
      try await setup.catalog.write { try $0.set("shade", to: "green") }
      let journal = try await setup.journal()
      try await journal.publishAll()
      let before = try await setup.objects()
      try await setup.catalog.write { try $0.set("shade", to: "green") }
      try await journal.settle(timeout: .seconds(10), running: true)
      #expect(try await setup.objects() == before)
    }
  }

  @Test func longHistoriesStaySmallAndWhole() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await journal.publishAll()
      for number in 0..<(2 * CatalogJournal.changesLimit + 20) {
        try await setup.catalog.write { try $0.set("counter", to: "\(number)") }
        try await journal.publish()
        if journal.isBaseDue { try await journal.writeBase() }
      }
      #expect(try await setup.objects().count < 2 * CatalogJournal.changesLimit)
      #expect(try await JournalKeys.list(JournalKeys.basePrefix, setup.store).count == 2)
      try await setup.compare()
    }
  }

  // MARK: faults

  /// The store takes objects and does not say so, or does not take them: at every put.
  @Test(arguments: [FaultyObjectStore.Fault.before, .after])
  func aPutWhoseAnswerIsLostIsMadeUpFor(fault: FaultyObjectStore.Fault) async throws {
    try await JournalSetup.with { setup in
      let store = FaultyObjectStore(setup.store)
      let journal = try await setup.journal(on: store)
      try await journal.publishAll()
      for round in 0..<3 {
        try await setup.catalog.write { try $0.set("round", to: "\(round)") }
        store.setRule { $0.operation == .put ? fault : nil }
        await #expect(throws: ObjectStorageError.self) { try await journal.publish() }
        try await setup.catalog.write { try $0.set("again", to: "\(round)") }
        store.setRule(nil)
        try await journal.publish()
        try await setup.compare()
      }
    }
  }

  /// A process that died after a put, before it took its notes back: its successor stores them again.
  @Test func notesThatWereStoredAndNotTakenBackAreStoredAgain() async throws {
    try await JournalSetup.with { setup in
      let first = try await setup.journal()
      try await first.publishAll()
      try await setup.catalog.write { try $0.set("shade", to: "green") }
      try await setup.execute(
        """
        CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN RAISE EXCEPTION ''killed''; END';
        CREATE TRIGGER stop BEFORE DELETE ON exzo.journal_changes EXECUTE FUNCTION stop()
        """)
      await #expect(throws: CatalogError.self) { try await first.publish() }
      try await setup.execute("DROP TRIGGER stop ON exzo.journal_changes")
      try await setup.catalog.write { try $0.set("shade", to: "blue") }
      let second = try await setup.journal()
      try await second.publishAll()
      try await setup.compare()
    }
  }

  @Test func damageAndGapsAreNamed() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await journal.publishAll()
      var changes: [ObjectKey] = []
      for number in 0..<3 {
        try await setup.catalog.write { try $0.set("n", to: "\(number)") }
        try await journal.publish()
        changes = try await JournalKeys.list(JournalKeys.changesPrefix, setup.store).map(\.key)
      }
      let middle = changes[changes.count - 2]
      let bytes = try await setup.store.get(middle, range: nil)
      for offset in [0, 5, 20, 30, 53, 57, bytes.count - 1] {
        var damaged = bytes
        damaged[offset] ^= 0x20
        try await setup.store.put(middle, .bytes(damaged))
        let error = await #expect(throws: CatalogError.self, "offset \(offset)") {
          try await RecoveredCatalog.load(setup.store)
        }
        #expect(
          error?.message.contains(middle.name) == true, "offset \(offset): \(error?.message ?? "")")
      }
      try await setup.store.delete(middle)
      let gap = await #expect(throws: CatalogError.self) {
        try await RecoveredCatalog.load(setup.store)
      }
      #expect(gap?.message.contains("'\(middle)' is missing") == true)
      #expect(try await journal.problems().count == 1)
      // A new base goes on without it.
      try await journal.writeBase()
      #expect(try await journal.problems() == [])
      try await setup.compare()
    }
  }

  @Test func aDamagedBaseIsPassedOverForTheOneBeforeIt() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await journal.publishAll()
      try await setup.seed(projects: 2)
      try await journal.publish()
      try await journal.writeBase()
      try await setup.catalog.write { try $0.set("after", to: "the base") }
      try await journal.publish()
      let bases = try await JournalKeys.list(JournalKeys.basePrefix, setup.store)
      let newest = try #require(bases.last).key
      try await setup.store.put(newest, .bytes([1, 2, 3]))
      let found = try await RecoveredCatalog.load(setup.store)
      #expect(found.warnings.first?.contains(newest.name) == true)
      try await setup.compare()
    }
  }

  @Test func aStoreWithoutCatalogSaysSo() async throws {
    let error = await #expect(throws: CatalogError.self) {
      try await RecoveredCatalog.load(MemoryObjectStore())
    }
    #expect(error?.code == .noCatalog)
  }

  @Test func rowsOfALaterVersionAreRefused() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await setup.execute("INSERT INTO exzo.migrations VALUES (99999, 'of tomorrow')")
      try await journal.publishAll()
      // Known by reading alone, before anything is taken from anyone.
      let error = await #expect(throws: CatalogError.self) {
        _ = try await RecoveredCatalog.load(setup.store)
      }
      #expect(error?.code == .tooNew && error?.message.contains("99999") == true)
    }
  }

  /// The example of docs/formats/catalog-journal.md.
  @Test func theDocumentedExampleIsWhatIsWritten() throws {
    let object = JournalObject(
      kind: .changes, number: ObjectNumber(epoch: 2, sequence: 1), previous: .zero,
      payload: Array("{}\n".utf8))
    let hex = object.encoded.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    let document = try String(contentsOfFile: "docs/formats/catalog-journal.md", encoding: .utf8)
    #expect(document.replacing("\n", with: "").contains(hex), "\(hex)")
    #expect(try JournalObject(object.encoded, key: object.key) == object)
  }

  // MARK: owners

  @Test func aHigherOwnerStopsTheJournal() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await journal.publishAll()
      let other = StoreOwnership(store: setup.store, recordPath: "\(setup.directory)/other-owner")
      let notice = InstallationNotice(
        host: "elsewhere", dataDirectory: "/srv/new", reason: "recovery", takenAt: 1)
      _ = try await other.claim(as: notice, url: "file:///x", takesOver: true)
      let error = await #expect(throws: CatalogError.self) { try await journal.run() }
      #expect(error?.code == .fenced)
      #expect(error?.message.contains("'/srv/new' on host 'elsewhere'") == true)
      // And the one that was taken over cannot start again, however often it is tried.
      for _ in 0..<2 {
        let refused = await #expect(throws: CatalogError.self) {
          _ = try await setup.ownership.claim(as: notice, url: "file:///x", takesOver: false)
        }
        #expect(refused?.code == .fenced)
      }
    }
  }

  @Test func anotherInstallationsStoreIsNotTakenByAStart() async throws {
    try await JournalSetup.with { setup in
      let journal = try await setup.journal()
      try await journal.publishAll()
      let stranger = StoreOwnership(store: setup.store, recordPath: "\(setup.directory)/stranger")
      let error = await #expect(throws: CatalogError.self) {
        _ = try await stranger.claim(as: JournalSetup.notice, url: "file:///x", takesOver: false)
      }
      #expect(error?.code == .fenced)
      #expect(error?.message.contains("--recover-from") == true)
    }
  }

  /// At each call of the store that a claim makes, it is cut off; the next attempt goes on.
  @Test(arguments: [false, true]) func aClaimThatWasCutOffIsOnesOwn(takesOver: Bool) async throws {
    for failing in 1...4 {
      try await withTemporaryDirectory { directory in
        let memory = MemoryObjectStore()
        let former = StoreOwnership(store: memory, recordPath: "\(directory)/former")
        if takesOver {
          _ = try await former.claim(as: JournalSetup.notice, url: "file:///x", takesOver: false)
        }
        let store = FaultyObjectStore(memory) { $0.number == failing ? .after : nil }
        let own = StoreOwnership(store: store, recordPath: "\(directory)/own")
        // Whether it succeeds depends on the call that is cut off.
        let first = try? await own.claim(as: JournalSetup.notice, url: "u", takesOver: takesOver)
        store.setRule(nil)
        let second = try await own.claim(as: JournalSetup.notice, url: "u", takesOver: takesOver)
        #expect(first.map { $0 < second } ?? true)
        #expect(try await own.newer(than: second) == nil)
      }
    }
  }

  @Test func aRecoveryThatWasItselfTakenOverDoesNotGoOn() async throws {
    try await withTemporaryDirectory { directory in
      let store = MemoryObjectStore()
      let first = StoreOwnership(store: store, recordPath: "\(directory)/first")
      let second = StoreOwnership(store: store, recordPath: "\(directory)/second")
      _ = try await first.claim(as: JournalSetup.notice, url: "u", takesOver: true)
      _ = try await second.claim(as: JournalSetup.notice, url: "u", takesOver: true)
      let error = await #expect(throws: CatalogError.self) {
        _ = try await first.claim(as: JournalSetup.notice, url: "u", takesOver: true)
      }
      #expect(error?.code == .fenced)
    }
  }
}
