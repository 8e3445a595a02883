import Logging
import PostgresClient
import Synchronization

/// A PostgreSQL server that somebody else runs, with a database for the metadata.
///
/// *Purpose*: to check it, and to see to it that one `serve` uses it at a time.
///
/// *State and invariants*: between ``start()`` and ``stop()`` a session holds an advisory lock of the
/// database (`pg_advisory_lock`, PostgreSQL's documentation, "Advisory Locks").
///
/// *Crash*: the lock goes with the session.
///
/// *Concurrency*: ``start()`` and ``stop()`` one after the other; each blocks a thread of its own.
///
/// *Not guarded here*: a session that is lost and whose lock another takes before ``supervise(every:)``
/// has it back; the object store's ownership then fences the older one.
public final class ExternalMetadataServer: MetadataServer {
  public let connectionParameters: ConnectionParameters
  private let logger: Logger
  private let session = Mutex<Session?>(nil)

  private struct Session: @unchecked Sendable {
    let connection: PostgresConnection
  }

  /// Any constant of ours, other than the one of migrations.
  private static let advisoryLock: Int64 = 0x65787a6f_73657276
  private static let oldestMajor = 15

  /// - Parameter url: `postgresql://…`, as ``ConnectionParameters/init(connectionString:)`` takes it.
  /// - Throws: ``CatalogError`` `.server` for one that cannot be used.
  public init(url: String, logger: Logger) throws {
    do {
      var parameters = try ConnectionParameters(connectionString: url)
      parameters.applicationName = "exzo-catalog"
      connectionParameters = parameters
    } catch let error as PostgresError {
      throw CatalogError(.server, "use --metadata-url: \(error.message)")
    }
    self.logger = logger
  }

  public func start() async throws {
    try await onThread {
      if self.session.withLock({ $0?.connection.isAlive == true }) { return }
      let connection: PostgresConnection
      do { connection = try PostgresConnection(self.connectionParameters) } catch let error
        as PostgresError
      {
        throw CatalogError(error, doing: "reach metadata database")
      }
      try self.check(connection)
      self.session.withLock { $0 = Session(connection: connection) }
    }
  }

  private func check(_ connection: PostgresConnection) throws {
    let major = connection.serverVersion / 10_000
    guard major >= Self.oldestMajor else {
      throw CatalogError(
        .server,
        "use metadata database \(connectionParameters): the server is PostgreSQL \(major), "
          + "\(Self.oldestMajor) or later is needed")
    }
    let row = try connection.query(
      "SELECT pg_try_advisory_lock(\(Self.advisoryLock)) AS held"
    ).first
    guard try row?.value("held", as: Bool.self) == true else {
      throw CatalogError(
        .server,
        "use metadata database \(connectionParameters): another 'exzo serve' uses it. "
          + "HINT: stop that one, or name another database")
    }
  }

  public func stop() async throws {
    await withCheckedContinuation { continuation in
      _ = NamedThread("metadata-stop") {
        self.session.withLock { session in
          session?.connection.close()
          session = nil
        }
        continuation.resume()
      }
    }
  }

  public func supervise(every interval: Duration) async {
    while !Task.isCancelled {
      do {
        try await Task.sleep(for: interval)
        try await start()
      } catch is CancellationError {
        return
      } catch {
        logger.error("metadata database is away", metadata: ["error": "\(error)"])
      }
    }
  }

  private func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
    try await withCheckedThrowingContinuation {
      (continuation: CheckedContinuation<Void, any Error>) in
      _ = NamedThread("metadata-start") { continuation.resume(with: Result { try body() }) }
    }
  }
}
