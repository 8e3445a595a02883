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

/// Looks, as each stream begins, whether the server still writes the history that the line holds.
///
/// After a failover it writes another: moments across the switch could not be opened, and a promoted standby has
/// no slot that kept what it wrote meanwhile. One that is promoted later in the stream ends it first.
struct SourceTimeline: Sendable {
  let expected: TimelineID

  /// - Throws: ``SourceMoved``.
  func check(_ system: SystemIdentification) throws {
    guard system.timeline != expected else { return }
    throw SourceMoved(expected: expected, found: system.timeline)
  }
}
