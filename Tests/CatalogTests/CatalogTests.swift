import APITypes
import Foundation
import Logging
import PostgresClient
import PostgresFormat
import TestSupport
import Testing

@testable import Catalog

@Suite struct CatalogTests {
  private static let now = Date(timeIntervalSince1970: 1_795_428_000.123456)

  private func withCatalog(_ body: (Catalog, ConnectionParameters) async throws -> Void)
    async throws
  {
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(
        directory: directory,
        logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
      try await server.start()
      do {
        let catalog = try await Catalog.open(server.connectionParameters)
        try await body(catalog, server.connectionParameters)
        await catalog.close()
      } catch {
        try await server.stop()
        throw error
      }
      try await server.stop()
    }
  }

  private func seed(_ tx: CatalogTransaction) throws -> ProjectRecord {
    try tx.insert(
      PlanRecord(
        name: "pro", projectsLimit: 100, branchesLimit: 500, retentionSecondsMaximum: 2_592_000,
        computeUnitsMaximum: 8, createdAt: Self.now))
    try tx.insert(
      AccountRecord(
        id: AccountID("a"), plan: "pro", name: "A", email: "a@b", isAdmin: true, createdAt: Self.now
      ))
    return try tx.insert(
      ProjectRecord(
        id: ProjectID("p"), accountID: AccountID("a"), plan: "pro", name: "100% _ odd",
        pgVersion: 15,
        settings: API.ProjectSettings(enableLogicalReplication: true),
        defaultEndpointSettings: API.DefaultEndpointSettings(pgSettings: ["work_mem": "4MB"]),
        historyRetentionSeconds: 604_800, storePasswords: true, durability: "local",
        createdAt: Self.now, updatedAt: Self.now))
  }

  /// A branch of development may bring a lower number after a higher one.
  @Test func aMigrationThatWasPassedOverIsAppliedLater() async throws {
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(
        directory: directory,
        logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
      try await server.start()
      do {
        let connection = try PostgresConnection(server.connectionParameters)
        let first = Migration(number: 1, title: "a", sql: "CREATE TABLE exzo.a ()")
        let second = Migration(number: 2, title: "b", sql: "CREATE TABLE exzo.b ()")
        let third = Migration(number: 3, title: "c", sql: "CREATE TABLE exzo.c ()")
        #expect(try Migration.apply([first, third], to: connection) == [1, 3])
        #expect(try Migration.apply([first, second, third], to: connection) == [2])
        #expect(try Migration.apply([first, second, third], to: connection) == [])
      } catch {
        try await server.stop()
        throw error
      }
      try await server.stop()
    }
  }

  private func operation(_ name: String, waitsFor: [String] = []) -> OperationRecord {
    OperationRecord(
      id: OperationID(name), position: 0, accountID: AccountID("a"), plan: "pro",
      projectID: ProjectID("p"), action: .startCompute, kind: "start_compute", status: .scheduling,
      stepsDone: 0, locks: ["endpoint:\(name)"], waitsFor: waitsFor.map { OperationID($0) },
      details: [:], failuresCount: 0, createdAt: Self.now, updatedAt: Self.now)
  }

  @Test func recordsComeBackAsTheyWereWritten() async throws {
    try await withCatalog { catalog, _ in
      let (written, project) = try await catalog.write { tx in
        let written = try seed(tx)
        return (written, try tx.project(ProjectID("p"), of: AccountID("a")))
      }
      #expect(project == written)
      #expect(project?.createdAt == Self.now)
      #expect(try await catalog.read { try $0.project(ProjectID("p"), of: AccountID("b")) } == nil)

      try await catalog.write { tx in
        try tx.insert(
          LineRecord(
            id: CatalogLineID("ln-1"), accountID: AccountID("a"), plan: "pro",
            projectID: ProjectID("p"), isOpened: true, createdAt: Self.now))
        try tx.insert(
          LineRecord(
            id: CatalogLineID("ln-2"), accountID: AccountID("a"), plan: "pro",
            projectID: ProjectID("p"), parentID: CatalogLineID("ln-1"),
            parentLSN: LSN(0x1_2345_6789),
            isOpened: false, createdAt: Self.now))
        var changed = written
        changed.name = "new"
        changed.deletedAt = Self.now
        try tx.update(changed)
      }
      let (line, renamed) = try await catalog.read { tx in
        (try tx.line(CatalogLineID("ln-2")), try tx.project(ProjectID("p")))
      }
      #expect(line?.parentLSN == LSN(0x1_2345_6789))
      #expect(renamed?.name == "new")
      #expect(renamed?.deletedAt == Self.now)
      var missing = written
      missing.name = "x"
      let other = missing
      await #expect(throws: CatalogError.self) {
        try await catalog.write { tx in
          try tx.insert(other)
        }
      }
    }
  }

  @Test func pagesCoverEachRowOnceInBothOrdersAndSearchIsLiteral() async throws {
    try await withCatalog { catalog, _ in
      try await catalog.write { tx in
        var project = try seed(tx)
        for number in 0..<25 {
          project.id = ProjectID("p\(number)")
          project.name = "n\(number)"
          project.createdAt = Self.now.addingTimeInterval(Double(number / 3))
          try tx.insert(project)
        }
      }
      for order in [PageRequest.Order.ascending, .descending] {
        var seen: [String] = []
        var request = PageRequest(limit: 4, order: order)
        repeat {
          let current = request
          let page = try await catalog.read { tx in
            try tx.projects(of: AccountID("a"), search: nil, current)
          }
          seen += page.elements.map(\.id.rawValue)
          request.after = page.next
        } while request.after != nil
        #expect(seen.count == 26)
        #expect(Set(seen).count == 26)
      }
      for (search, count) in [("%", 1), ("_", 1), ("n1", 11), ("\\", 0), ("100% _", 1)] {
        let page = try await catalog.read { tx in
          try tx.projects(
            of: AccountID("a"), search: search, PageRequest(limit: 100))
        }
        #expect(page.elements.count == count, "search '\(search)'")
      }
    }
  }

  @Test func operationsAreClaimedInOrderOnceAndAfterWhatTheyWaitFor() async throws {
    try await withCatalog { catalog, _ in
      try await catalog.write { tx in
        _ = try seed(tx)
        _ = try tx.enqueue(operation("one"))
        _ = try tx.enqueue(operation("two", waitsFor: ["one"]))
        _ = try tx.enqueue(operation("three"))
      }
      func claim() async throws -> OperationRecord? {
        try await catalog.write { try $0.claimOperation(for: "w", at: Self.now) }
      }
      func hasMore() async throws -> Bool {
        try await catalog.read { try $0.hasClaimableOperation(at: Self.now) }
      }
      #expect(try await hasMore())
      let first = try #require(try await claim())
      #expect(first.id.rawValue == "one")
      #expect(first.status == .running)
      #expect(try await claim()?.id.rawValue == "three")
      #expect(try await !hasMore())
      #expect(try await claim() == nil)
      #expect(try await catalog.write { try $0.releaseClaims(of: "other") } == 0)
      #expect(try await catalog.write { try $0.releaseClaims(of: "w") } == 2)
      var finished = try #require(try await claim())
      finished.status = .finished
      let done = finished
      try await catalog.write { try $0.update(done) }
      #expect(try await claim()?.id.rawValue == "two")
      let holder = try await catalog.read {
        try $0.holder(of: ["x", "endpoint:two"], in: ProjectID("p"))
      }
      #expect(holder?.id.rawValue == "two")
      #expect(
        try await catalog.read { try $0.holder(of: ["endpoint:one"], in: ProjectID("p")) } == nil)
    }
  }

  @Test func migrationsRunOnceAlsoWhenManyStartTogetherAndLaterOnesAreRefused() async throws {
    try await withCatalog { _, parameters in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<4 {
          group.addTask { await (try Catalog.open(parameters, connections: 1)).close() }
        }
        try await group.waitForAll()
      }
      let connection = try PostgresConnection(parameters)
      let count = try connection.query("SELECT count(*) FROM exzo.migrations").first?[0]
      #expect(count == "\(Migration.all.count)")
      // A migration that fails in the middle leaves nothing behind.
      let broken = Migration(number: 900, title: "x", sql: "CREATE TABLE exzo.half (); SELECT 1/0;")
      #expect(throws: PostgresError.self) {
        try Migration.apply(Migration.all + [broken], to: connection)
      }
      #expect(try connection.query("SELECT to_regclass('exzo.half')").first?[0] == nil)
      try connection.query("INSERT INTO exzo.migrations (number, title) VALUES (999, 'later')")
      await #expect(throws: CatalogError.self) { try await Catalog.open(parameters) }
    }
  }

  @Test func duplicatesNameTheConstraint() async throws {
    try await withCatalog { catalog, _ in
      _ = try await catalog.write { try seed($0) }
      do {
        _ = try await catalog.write { try seed($0) }
        Issue.record("a second row with the same key was accepted")
      } catch let error as CatalogError {
        #expect(error.code == .duplicate)
        #expect(error.constraint == "plans_pkey")
      }
    }
  }
}
