import APITypes
import Catalog
import Foundation
import PostgresFormat

extension TimelineService {
  /// What an event was, by looking its relations up at the moment before.
  ///
  /// Opens that moment for reading, which takes about a second, the first time; of a replacement also
  /// the moment after.
  /// - Throws: ``ControlPlaneError`` `.eventNotFound`.
  public func event(
    lsn text: String, relation: String?, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.TimelineEventDetails {
    guard let lsn = LSN(text) else {
      throw ControlPlaneError.value("lsn", text, allowed: "an LSN like 0/1A2B3C")
    }
    let place = try await find(branch, project, account)
    let line = place.source.line
    let key = EventKey(lsn: lsn.description, relation: relation)
    if let known = core.eventNames.details(line: line, key) { return known }
    let (window, events) = try await read(place)
    let groups = EventGroups(events)
    let details: API.TimelineEventDetails
    if let relation {
      guard let deletion = groups.deletion(of: relation, at: lsn) else { throw missing(lsn) }
      details = try await describe(deletion, place)
    } else {
      guard let group = groups.group(at: lsn) else { throw missing(lsn) }
      details = try await describe(group, place, window)
    }
    core.eventNames.note(details, line: line, key)
    return details
  }

  private func missing(_ lsn: LSN) -> ControlPlaneError {
    ControlPlaneError(
      .eventNotFound, "describe the event at \(lsn): the branch's history has none there",
      hint: "take 'lsn' from the timeline")
  }

  /// Runs a look at the branch as it was at `lsn`.
  private func names<Value: Sendable>(
    at lsn: LSN, _ place: Place, _ body: @escaping @Sendable (RelationNames) async throws -> Value
  ) async throws -> Value {
    let moment = try await place.resolver.resolve(.lsn(lsn))
    return try await core.reading.use(moment, of: place.branch, place.project, core) {
      try await body(RelationNames(compute: $0))
    }
  }

  private func describe(
    _ group: EventGroups.Group, _ place: Place, _ window: RestoreWindow
  ) async throws -> API.TimelineEventDetails {
    func details(
      _ title: String, _ objects: [RelationNames.Relation] = []
    ) -> API.TimelineEventDetails {
      API.TimelineEventDetails(
        title: title, lsn: group.lsn.description, timestamp: group.time,
        objects: objects.map(\.shown))
    }
    switch group.kind {
    case .createDatabase: return details("CREATE DATABASE")
    case .dropDatabase:
      let dropped = group.databases.map(\.relation.database)
      let known = try await names(at: group.lsn, place) { try await $0.databases() }
      let title = dropped.compactMap { known[$0] }.first.map { "DROP DATABASE \($0)" }
      return details(title ?? "DROP DATABASE")
    case .create:
      let created = group.created
      let after = min(group.lsn + Self.behindCommit, window.latestLSN)
      let found = try await names(at: after, place) { try await $0.relations(created) }
      return details(Self.title("CREATE", found), found)
    default:
      let dropped = group.dropped
      let before = try await names(at: group.lsn, place) { try await $0.relations(dropped) }
      guard group.kind == .replace else {
        return details(Self.title("DROP", before), before)
      }
      let after = min(group.lsn + Self.behindCommit, window.latestLSN)
      let now = try await names(at: after, place) { try await $0.states(of: before) }
      return details(Self.replacement(before, now), before)
    }
  }

  /// Further than any record of a commit reaches; what else lies there does not matter to names.
  private static let behindCommit: UInt64 = 16 << 10

  private static func replacement(
    _ before: [RelationNames.Relation], _ now: [UInt32: Int]
  ) -> String {
    let tables = before.filter(\.holdsRows)
    if tables.isEmpty { return title("REINDEX", before) }
    let gone = tables.filter { now[$0.oid] == nil }
    if !gone.isEmpty { return title("DROP", gone) }
    let emptied = tables.filter { $0.bytes > 0 && now[$0.oid] == 0 }
    return emptied.isEmpty ? title("rewrite of", tables) : title("TRUNCATE", emptied)
  }

  /// Such as `DROP TABLE public.orders and 2 more`.
  static func title(_ verb: String, _ found: [RelationNames.Relation]) -> String {
    let visible = found.filter { $0.kind != "toast table" }
    let tables = visible.filter(\.holdsRows)
    let told = tables.isEmpty ? visible : tables
    guard let first = told.first else { return "\(verb) (nothing with a name)" }
    let type =
      verb == "TRUNCATE" || verb == "rewrite of" || verb == "REINDEX"
      ? "" : first.kind.uppercased() + " "
    let more = told.count > 1 ? " and \(told.count - 1) more" : ""
    return "\(verb) \(type)\(first.schema).\(first.name)\(more)"
  }

  private func describe(
    _ deletion: LineEvents.Deletion, _ place: Place
  ) async throws -> API.TimelineEventDetails {
    let found = try await core.fleet.mostDeleting(
      line: place.source.line, from: deletion.relation, in: deletion.range)
    guard let found else {
      return API.TimelineEventDetails(
        title: "\(deletion.rows) rows deleted, not committed",
        lsn: deletion.range.lowerBound.description, timestamp: deletion.start, objects: [])
    }
    let relation = deletion.relation
    let before = try await names(at: found.commitLSN, place) {
      try await $0.relations([relation], countsRows: true)
    }
    let name = before.first.map { "\($0.schema).\($0.name)" } ?? "a table"
    let total = before.first?.rows
    let share = total.flatMap { $0 > 0 ? Double(found.rows) / Double($0) : nil }
    let percent = share.map { " (\(min(100, Int(($0 * 100).rounded()))) %)" } ?? ""
    return API.TimelineEventDetails(
      title: "DELETE of \(found.rows) rows\(percent) from \(name)",
      lsn: found.commitLSN.description, timestamp: found.time, objects: before.map(\.shown),
      rowsDeleted: found.rows, isMassDelete: (share ?? 0) > 0.5)
  }

  /// Finds a moment and tells what opening it would take.
  public func moment(
    lsn: String?, time: Date?, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.MomentResponse {
    let place = try await find(branch, project, account)
    let request = try MomentRequest(lsn: lsn, time: time, names: ("lsn", "timestamp"))
    let moment = try await place.resolver.resolve(request)
    let (_, events) = try await read(place)
    let image = events.keyframes.filter { $0.lsn <= moment.lsn }.map(\.lsn).max()
    let tail = Int(clamping: moment.lsn - (image ?? moment.lsn))
    return API.MomentResponse(
      lsn: moment.lsn.description, timestamp: moment.time, tailBytes: tail,
      openingMilliseconds: Self.openingMilliseconds(tailBytes: tail))
  }

  /// A server's start, and reading the tail at what one core reads; docs/benchmarks.md.
  static func openingMilliseconds(tailBytes: Int) -> Int { 700 + tailBytes / 100_000 }

  /// This billing period's transfer.
  public func transfers(account: AccountID) async throws -> API.TransferResponse {
    let start = BillingPeriod(holding: core.clock.now).start
    let rows = try await core.catalog.read { try $0.transfers(of: account, since: start) }
    return API.TransferResponse(
      periodStart: start,
      transfers: rows.map {
        API.Transfer(
          projectID: $0.project, endpointID: $0.endpoint, sessionKind: $0.kind, bytes: $0.bytes)
      })
  }
}
