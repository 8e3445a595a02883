import ControlPlane
import Foundation
import History
import PostgresFormat

extension FleetAdapter {
  func events(line: String, from: LSN, to: LSN) async throws -> LineEvents {
    try await translating {
      let found = try await self.timelines.timeline(
        of: try await self.history(line), from: from, to: to)
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
