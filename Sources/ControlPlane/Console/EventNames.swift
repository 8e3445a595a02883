import APITypes
import Synchronization

/// Which event of a line is meant.
struct EventKey: Hashable, Sendable {
  var lsn: String
  var relation: String?

  init(lsn: String, relation: String?) {
    self.lsn = lsn
    self.relation = relation
  }

  init(_ event: API.TimelineEvent) { self.init(lsn: event.lsn, relation: event.relation) }
}

/// What events were found to be. History does not change, so what was found stays right.
///
/// *Invariant*: at most ``limit`` events; when it is full, all go.
final class EventNames: Sendable {
  private static let limit = 20_000
  private let known = Mutex<[String: [EventKey: API.TimelineEventDetails]]>([:])

  func details(line: String, _ key: EventKey) -> API.TimelineEventDetails? {
    known.withLock { $0[line]?[key] }
  }

  func titles(line: String) -> [EventKey: String] {
    known.withLock { $0[line]?.mapValues(\.title) ?? [:] }
  }

  func note(_ details: API.TimelineEventDetails, line: String, _ key: EventKey) {
    known.withLock { known in
      if known.values.reduce(0, { $0 + $1.count }) >= Self.limit { known = [:] }
      known[line, default: [:]][key] = details
    }
  }
}
