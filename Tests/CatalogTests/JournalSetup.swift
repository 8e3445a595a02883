import APITypes
import Foundation
import Logging
import ObjectStorage
import PostgresClient
import TestSupport
import Testing

@testable import Catalog

/// A catalog on a server of its own, a second server to restore into, and a store.
struct JournalSetup: Sendable {
  static let now = Date(timeIntervalSince1970: 1_795_428_000.123456)
  static let notice = InstallationNotice(
    host: "here", dataDirectory: "/srv/exzo", reason: "start", takenAt: 0)

  let directory: String
  let catalog: Catalog
  let parameters: ConnectionParameters
  let store: any ObjectStore
  private let logger: Logger

  var ownership: StoreOwnership {
    StoreOwnership(store: store, recordPath: "\(directory)/store-owner")
  }

  static func with(_ body: (JournalSetup) async throws -> Void) async throws {
    let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    try await withTemporaryDirectory { directory in
      let server = try EmbeddedMetadataServer(directory: directory, logger: logger)
      try await server.start()
      do {
        let catalog = try await Catalog.open(server.connectionParameters, connections: 6)
        try await body(
          JournalSetup(
            directory: directory, catalog: catalog, parameters: server.connectionParameters,
            store: MemoryObjectStore(), logger: logger))
        await catalog.close()
      } catch {
        try await server.stop()
        throw error
      }
      try await server.stop()
    }
  }

  func journal(on other: (any ObjectStore)? = nil) async throws -> CatalogJournal {
    let claim = try await ownership.claim(as: Self.notice, url: "file:///x", takesOver: false)
    let store = other ?? store
    return try await CatalogJournal(
      catalog: catalog, store: store,
      ownership: StoreOwnership(store: store, recordPath: "\(directory)/store-owner"), claim: claim,
      secretKey: "00ff", logger: logger)
  }

  func execute(_ script: String) async throws {
    catalog.activity.begin()
    defer { catalog.activity.end() }
    try await catalog.unjournaled("test") { _ = try $0.execute(script) }
  }

  func query(_ sql: String) async throws -> [[String]] {
    try await catalog.snapshot("test") { connection in
      try connection.query(sql).rows.map { row in [row[0] ?? "", row[1] ?? ""] }
    }
  }

  func apply(_ migration: Migration) async throws {
    try await catalog.snapshotless { _ = try Migration.apply(Migration.all + [migration], to: $0) }
  }

  func seed(projects: Int, from first: Int = 0) async throws {
    try await catalog.write { tx in
      if try tx.plan("pro") == nil {
        try tx.insert(
          PlanRecord(
            name: "pro", projectsLimit: 100, branchesLimit: 500, retentionSecondsMaximum: 2_592_000,
            computeUnitsMaximum: 8, createdAt: Self.now))
        try tx.insert(
          AccountRecord(
            id: AccountID("a"), plan: "pro", name: "A", email: "a@b", isAdmin: true,
            createdAt: Self.now))
      }
      for number in first..<first + projects {
        try tx.insert(
          ProjectRecord(
            id: ProjectID("p\(number)"), accountID: AccountID("a"), plan: "pro",
            name: "line\nbreak \(number)", pgVersion: 15,
            settings: API.ProjectSettings(enableLogicalReplication: true),
            defaultEndpointSettings: API.DefaultEndpointSettings(pgSettings: ["work_mem": "4MB"]),
            historyRetentionSeconds: 604_800, storePasswords: true, durability: "local",
            createdAt: Self.now, updatedAt: Self.now))
      }
      try tx.audit(
        AuditRecord(
          accountID: AccountID("a"), plan: "pro", keyID: nil, requestID: "r", method: "POST",
          path: "/p", status: 201, address: "::1", createdAt: Self.now))
    }
  }

  /// Names of what the store holds.
  func objects() async throws -> [String] {
    var names: [String] = []
    try await store.listAll(prefix: "catalog/") { names.append($0.key.name) }
    return names
  }

  /// Restores into a database made for it, and asks it something.
  func restored<Value: Sendable>(
    _ copy: RecoveredCatalog, _ ask: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    let target = try await emptyDatabase()
    try await copy.restore(into: target, token: "token")
    // Again: nothing happens.
    try await copy.restore(into: target, token: "token")
    return try await asked(target, ask)
  }

  func emptyDatabase() async throws -> ConnectionParameters {
    let name = "copy_\(UUID().uuidString.prefix(8).lowercased())"
    try await catalog.snapshotless { _ = try $0.query("CREATE DATABASE \(name)") }
    var target = parameters
    target.database = name
    return target
  }

  func asked<Value: Sendable>(
    _ target: ConnectionParameters,
    _ ask: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    let pool = PostgresConnectionPool(target, size: 1, name: "copy")
    do {
      let value = try await pool.withConnection(ask)
      await pool.close()
      return value
    } catch {
      await pool.close()
      throw error
    }
  }

  /// Every row of every table, and where the sequences stand, there and in a restored copy.
  func compare(
    after migrations: [Migration] = [], sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let copy = try await RecoveredCatalog.load(store, known: Migration.all + migrations)
    #expect(copy.secretKey == "00ff", sourceLocation: sourceLocation)
    let expected = try await catalog.snapshot("test") { try Self.contents($0) }
    let found = try await restored(copy) { try Self.contents($0) }
    for (table, rows) in expected {
      #expect(found[table] == rows, "\(table)", sourceLocation: sourceLocation)
    }
    #expect(found.keys.sorted() == expected.keys.sorted(), sourceLocation: sourceLocation)
  }

  private static func contents(_ connection: PostgresConnection) throws -> [String: [String]] {
    var contents: [String: [String]] = [:]
    for table in try JournalRows(connection: connection).tables() {
      contents[table] = try connection.query(
        "SELECT to_jsonb(t)::text FROM exzo.\(table) AS t ORDER BY 1"
      ).rows.map { $0[0] ?? "" }
    }
    contents["(sequences)"] = try connection.query(
      """
      SELECT sequencename || ' ' || last_value FROM pg_sequences
      WHERE schemaname = 'exzo' AND sequencename !~ '^journal_' AND last_value IS NOT NULL ORDER BY 1
      """
    ).rows.map { $0[0] ?? "" }
    return contents
  }
}

extension CatalogJournal {
  /// As ``settle(timeout:)``, with a publisher for as long.
  func settle(timeout: Duration, running: Bool) async throws {
    let publishing = Task { try await run() }
    try await settle(timeout: timeout)
    publishing.cancel()
    try await publishing.value
  }
}

extension Catalog {
  /// Outside a transaction.
  func snapshotless(
    _ body: @escaping @Sendable (PostgresConnection) throws -> Void
  ) async throws {
    try await onConnection("test", body)
  }
}
