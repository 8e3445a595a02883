import PostgresClient

/// The PostgreSQL server that holds the metadata.
public protocol MetadataServer: Sendable {
  /// Where to connect.
  var connectionParameters: ConnectionParameters { get }
  /// On return it accepts connections, and nobody else's `serve` uses it.
  /// - Throws: ``CatalogError`` `.server`, `.unavailable`.
  func start() async throws
  /// Ends what ``start()`` began. Idempotent.
  func stop() async throws
  /// Keeps it up; returns when the task is cancelled.
  func supervise(every interval: Duration) async
}

extension MetadataServer {
  public func supervise() async { await supervise(every: .seconds(1)) }
}

extension EmbeddedMetadataServer: MetadataServer {}
