import APITypes
import Foundation
import PostgresFormat

/// Changes of files put together by transaction, and deletes by table and time.
struct EventGroups {
  /// One transaction's.
  struct Group {
    var xid: UInt32
    /// Start of the record that ends the transaction, or of the last that made a file.
    var lsn: LSN
    var time: Date
    var created: [RelFileLocator] = []
    var dropped: [RelFileLocator] = []
    var databases: [LineEvents.FileChange] = []

    var kind: API.TimelineEventKind {
      if let database = databases.first {
        return database.kind == .databaseDropped ? .dropDatabase : .createDatabase
      }
      if dropped.isEmpty { return .create }
      return created.count >= dropped.count ? .replace : .drop
    }

    var event: API.TimelineEvent {
      API.TimelineEvent(
        kind: kind, lsn: lsn.description, timestamp: time,
        files: max(created.count, dropped.count, databases.count))
    }
  }

  /// `FirstNormalObjectId`, `access/transam.h`.
  private static let firstNormalNumber: UInt32 = 16_384

  private(set) var groups: [Group] = []
  private let deletions: [LineEvents.Deletion]

  init(_ events: LineEvents) {
    // Rows of the server's own catalogs come and go with every change of a schema.
    deletions = Self.merged(
      events.deletions.filter { $0.relation.relation >= Self.firstNormalNumber })
    var open: [UInt32: Group] = [:]
    for change in events.changes {
      var group = open[change.xid] ?? Group(xid: change.xid, lsn: change.lsn, time: change.time)
      switch change.kind {
      case .truncated: continue
      case .created: group.created.append(change.relation)
      case .dropped: group.dropped.append(change.relation)
      case .databaseCreated, .databaseDropped: group.databases.append(change)
      }
      (group.lsn, group.time) = (change.lsn, change.time)
      open[change.xid] = group
    }
    groups = open.values.compactMap { Self.lasting($0) }.sorted { $0.lsn < $1.lsn }
  }

  /// Without files that came and went in the same transaction, as when it was rolled back.
  private static func lasting(_ group: Group) -> Group? {
    let passing = Set(group.created).intersection(group.dropped)
    guard !passing.isEmpty else { return group }
    var group = group
    group.created.removeAll { passing.contains($0) }
    group.dropped.removeAll { passing.contains($0) }
    return group.created.isEmpty && group.dropped.isEmpty && group.databases.isEmpty ? nil : group
  }

  /// Chunks cut a minute: its deletes of one table are one.
  private static func merged(_ deletions: [LineEvents.Deletion]) -> [LineEvents.Deletion] {
    struct Key: Hashable {
      var start: Date
      var relation: RelFileLocator
    }
    var sums: [Key: LineEvents.Deletion] = [:]
    for deletion in deletions {
      let key = Key(start: deletion.start, relation: deletion.relation)
      guard var sum = sums[key] else {
        sums[key] = deletion
        continue
      }
      sum.rows += deletion.rows
      sum.range =
        min(
          sum.range.lowerBound, deletion.range.lowerBound)..<max(
          sum.range.upperBound, deletion.range.upperBound)
      sums[key] = sum
    }
    return sums.values.sorted { $0.range.lowerBound < $1.range.lowerBound }
  }

  func group(at lsn: LSN) -> Group? { groups.first { $0.lsn == lsn } }

  func deletion(of relation: String, at lsn: LSN) -> LineEvents.Deletion? {
    deletions.first { $0.relation.description == relation && $0.range.lowerBound == lsn }
  }

  /// Newest first.
  func events(from: Date, to: Date) -> [API.TimelineEvent] {
    // A deletion's time is a minute.
    let first = from.addingTimeInterval(-60)
    let deletes = deletions.filter { $0.start >= first && $0.start <= to }.map { deletion in
      API.TimelineEvent(
        kind: .delete, lsn: deletion.range.lowerBound.description, timestamp: deletion.start,
        relation: deletion.relation.description, rows: deletion.rows, files: 0)
    }
    let changes = groups.filter { $0.time >= first && $0.time <= to }.map(\.event)
    return (deletes + changes).sorted { $0.timestamp > $1.timestamp }
  }
}
