import Logging
import PostgresClient
import Synchronization

/// The platform's metadata.
///
/// *Purpose*: every record of accounts, projects, branches and durable operations, and the only
/// SQL to it.
///
/// *State and invariants*: 1. The schema is at this version's number; ``open(_:connections:)``
/// brings it there.
/// 2. Secrets are stored hashed (API keys) or sealed (passwords), never as they are. 3. A
/// ``write(_:)`` is one transaction: all of it or nothing.
///
/// *Crash*: PostgreSQL's own. A write whose commit was not answered may have taken effect;
/// operations are written so that doing them again is harmless.
///
/// *Concurrency*: any number of callers. Bodies run on the pool's threads, never on the
/// cooperative pool.
///
/// *Not guarded here*: who may see what. Callers pass the account that they found.
public final class Catalog: Sendable {
  private let pool: PostgresConnectionPool
  /// What of it may not be in the object store yet.
  public let activity = CatalogActivity()
  /// What the task was asked for, where that is done once.
  @TaskLocal static var claim: IdempotencyRecord?
  /// Whether a write found the disk full, and none since is known to have found room.
  private let wasFull = Mutex(false)

  private init(pool: PostgresConnectionPool) { self.pool = pool }

  /// Connects, and migrates the schema.
  /// - Parameter migrates: `false` where a `serve` may be at work on it: then the schema must be this
  ///   version's already.
  /// - Throws: ``CatalogError`` `.unavailable`, `.tooNew`, or `.tooOld` where it must not be migrated.
  public static func open(
    _ parameters: ConnectionParameters, connections: Int = 4, migrates: Bool = true
  ) async throws -> Catalog {
    let pool = PostgresConnectionPool(parameters, size: connections, name: "catalog")
    let catalog = Catalog(pool: pool)
    do {
      try await catalog.onConnection("migrate metadata") { connection in
        if migrates {
          _ = try Migration.apply(to: connection)
        } else {
          try Migration.requireCurrent(connection)
        }
      }
      return catalog
    } catch {
      await pool.close()
      throw error
    }
  }

  /// Ends all connections; later calls throw.
  public func close() async { await pool.close() }

  /// Runs `body` in a read-only snapshot.
  public func read<Value: Sendable>(
    _ body: @escaping @Sendable (CatalogTransaction) throws -> Value
  ) async throws -> Value {
    try await onConnection("read metadata") { connection in
      try connection.withTransaction(isolation: .repeatableRead, isReadOnly: true) {
        try body(CatalogTransaction(connection: $0))
      }
    }
  }

  /// Runs `body` in a transaction: durable on return, without effect on throw.
  public func write<Value: Sendable>(
    _ body: @escaping @Sendable (CatalogTransaction) throws -> Value
  ) async throws -> Value {
    try await write(noting: Self.claim, body)
  }

  /// As ``write(_:)``, for what is no part of what a request asked for: done again, it harms nobody.
  public func writeAside<Value: Sendable>(
    _ body: @escaping @Sendable (CatalogTransaction) throws -> Value
  ) async throws -> Value {
    try await write(noting: nil, body)
  }

  /// Runs a request that is done once: the first of its writes that changes something notes in the same
  /// transaction that the claim has taken effect.
  public func noting<Value: Sendable>(
    _ claim: IdempotencyRecord, _ body: () async throws -> Value
  ) async throws -> Value {
    try await Self.$claim.withValue(claim) { try await body() }
  }

  private func write<Value: Sendable>(
    noting claim: IdempotencyRecord?,
    _ body: @escaping @Sendable (CatalogTransaction) throws -> Value
  ) async throws -> Value {
    activity.begin()
    // A commit that was not answered may have taken effect.
    var changed = true
    defer { activity.end(changed: changed) }
    let result = try await onConnection("write metadata") { connection in
      try connection.withTransaction {
        let transaction = CatalogTransaction(connection: $0)
        let value = try body(transaction)
        let hasID = try $0.query("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").first?[0]
        let hasChanged = hasID != "f"
        if hasChanged, let claim { try transaction.note(effectOf: claim) }
        return (value: value, hasChanged: hasChanged)
      }
    }
    changed = result.hasChanged
    return result.value
  }

  /// Runs `body` in a read-only snapshot, for the journal.
  func snapshot<Value: Sendable>(
    _ action: String, _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    try await onConnection(action) {
      try $0.withTransaction(isolation: .repeatableRead, isReadOnly: true, body)
    }
  }

  /// Runs a write to the journal's own tables.
  func unjournaled(
    _ action: String, _ body: @escaping @Sendable (PostgresConnection) throws -> Void
  ) async throws {
    try await onConnection(action) { try $0.withTransaction(body) }
  }

  /// Whether the database answers and, where its disk was full, takes changes again.
  /// - Throws: ``CatalogError`` `.unavailable`, `.diskFull`.
  public func ping() async throws {
    try await onConnection("reach metadata") { _ = try $0.query("SELECT 1") }
    guard wasFull.withLock({ $0 }) else { return }
    try await onConnection("write metadata") { connection in
      try connection.withTransaction {
        // A new file needs room, which small changes to others may find for a while.
        _ = try $0.execute(
          """
          CREATE TEMPORARY TABLE exzo_room ON COMMIT DROP AS
          SELECT md5(n::text) FROM generate_series(1, 2000) AS n
          """)
      }
    }
    wasFull.withLock { $0 = false }
  }

  func onConnection<Value: Sendable>(
    _ action: String, _ body: @escaping @Sendable (PostgresConnection) throws -> Value
  ) async throws -> Value {
    do {
      return try await pool.withConnection(body)
    } catch let error as PostgresError {
      let found = CatalogError(error, doing: action)
      if found.code == .diskFull { wasFull.withLock { $0 = true } }
      throw found
    }
  }
}
