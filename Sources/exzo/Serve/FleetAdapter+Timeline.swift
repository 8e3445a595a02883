import ControlPlane
import Foundation
import History
import PostgresFormat

extension FleetAdapter {
  func events(line: String, from: LSN, to: LSN) async throws -> LineEvents {
    try await translating {
      let history = try await self.history(line)
      let found = try await self.timelines.timeline(of: history, from: from, to: to)
      var events = LineEvents()
      events.minutes = found.minutes.map {
        LineEvents.Minute(
          start: Self.date(minute: $0.minute), lsn: $0.lsn, commits: Int(clamping: $0.commits),
          aborts: Int(clamping: $0.aborts), walBytes: Int(clamping: $0.walBytes),
          deletedRows: Int(clamping: $0.deletedRows))
      }
      events.changes = found.changes.map {
        LineEvents.FileChange(
          kind: .init($0.kind), relation: $0.locator, xid: $0.xid, lsn: $0.lsn, time: $0.time.date)
      }
      await self.dateDrops(&events, history, from)
      events.deletions = found.deletions.map {
        LineEvents.Deletion(
          start: Self.date(minute: $0.minute), relation: $0.relation, rows: Int(clamping: $0.rows),
          range: $0.range)
      }
      events.keyframes = found.keyframes.map {
        LineEvents.Keyframe(
          lsn: $0.consistentLSN, time: $0.createdAt.date, isComplete: $0.isComplete)
      }
      return events
    }
  }

  func mostDeleting(
    line: String, from relation: RelFileLocator, in range: Range<LSN>
  ) async throws -> DeletingTransaction? {
    try await translating {
      try await self.history(line).mostDeleting(from: relation, in: range).map {
        DeletingTransaction(
          xid: $0.xid, rows: Int(clamping: $0.rows), commitLSN: $0.commitLSN, time: $0.time.date)
      }
    }
  }

  private static func date(minute: Int64) -> Date {
    PostgresTimestamp(minute * 60_000_000).date
  }
}

extension LineEvents.FileChange.Kind {
  fileprivate init(_ kind: WALActivity.FileChange.Kind) {
    self =
      switch kind {
      case .created: .created
      case .dropped: .dropped
      case .truncated: .truncated
      case .databaseDropped: .databaseDropped
      case .databaseCreated: .databaseCreated
      }
  }
}

/// Drops of databases as their history tells them, each looked at once.
actor DatabaseDrops {
  private struct Key: Hashable {
    var line: LineID
    var lsn: LSN
  }
  struct Drop {
    /// Where the first thing that the drop did starts.
    var start: LSN
    var time: PostgresTimestamp?
  }
  private var known: [Key: Drop] = [:]
  private static let limit = 10_000

  func drop(_ change: LineEvents.FileChange, _ history: LineHistory) async throws -> Drop {
    let key = Key(line: history.line, lsn: change.lsn)
    if let drop = known[key] { return drop }
    let (start, time) = try await history.databaseDrop(at: change.lsn, xid: change.xid)
    let drop = Drop(start: start, time: time)
    if known.count >= Self.limit { known = [:] }
    // Its commit may be on its way.
    if time != nil { known[key] = drop }
    return drop
  }
}

extension FleetAdapter {
  /// Databases that went are told with the moment that has them still, and with the time of the commit: both lie
  /// elsewhere than the removal of their files. Of more than ``datedDrops`` the latest are.
  private func dateDrops(_ events: inout LineEvents, _ history: LineHistory, _ from: LSN) async {
    let drops = events.changes.indices.filter { events.changes[$0].kind == .databaseDropped }
    for index in drops.suffix(Self.datedDrops) {
      do {
        let drop = try await self.drops.drop(events.changes[index], history)
        if drop.start >= from { events.changes[index].lsn = drop.start }
        if let time = drop.time { events.changes[index].time = time.date }
      } catch {
        // The rest of the timeline does not depend on it.
        log.warning(
          "a dropped database's moment was not found",
          metadata: ["lsn": "\(events.changes[index].lsn)", "error": "\(error)"])
      }
    }
  }

  private static let datedDrops = 100
}
