import PostgresClient
import PostgresFormat

/// The server that answers has another timeline than the line: a standby was promoted, or a backup restored.
struct SourceMoved: Error, CustomStringConvertible {
  var expected: TimelineID
  var found: TimelineID

  var description: String {
    "the server is on timeline \(found.rawValue), what was followed is timeline \(expected.rawValue): a "
      + "standby was promoted, or a backup restored. History up to there stays"
  }
}

/// Looks, before each connection, whether the server still writes the history that the line holds.
///
/// After a failover it writes another: moments across the switch could not be opened, and a promoted standby has
/// no slot that kept what it wrote meanwhile.
struct SourceTimeline: Sendable {
  let expected: TimelineID
  let systemIdentifier: UInt64

  /// Blocks its thread.
  /// - Parameter connection: with the address pinned.
  /// - Throws: ``SourceMoved``; ``PostgresError``.
  func check(_ connection: ConnectionParameters) throws {
    let session = try ReplicationConnection(connection)
    defer { session.close() }
    let system = try session.identifySystem()
    // Another server altogether is told apart by whoever streams.
    guard system.systemIdentifier == systemIdentifier, system.timeline != expected else { return }
    throw SourceMoved(expected: expected, found: system.timeline)
  }
}
