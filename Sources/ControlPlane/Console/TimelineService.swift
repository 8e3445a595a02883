import APITypes
import Catalog
import Foundation
import PostgresFormat

/// What happened on a branch within its restore window.
public struct TimelineService: Sendable {
  let core: Core

  /// What is asked for; without times, the whole window.
  public struct Request: Sendable {
    public var from: Date?
    public var to: Date?
    /// At most so many buckets.
    public var buckets: Int

    public init(from: Date?, to: Date?, buckets: Int) {
      self.from = from
      self.to = to
      self.buckets = buckets
    }
  }

  /// A branch and all that its timeline needs of the catalog.
  struct Place: Sendable {
    var resolver: MomentResolver
    var snapshots: [SnapshotRecord]
    var dumps: [DumpRecord]
    var children: [BranchRecord]
    var project: ProjectRecord { resolver.project }
    var branch: BranchRecord { resolver.branch }

    /// The line whose history is the branch's, and up to where.
    var source: (line: String, end: LSN?) {
      let line = resolver.lines[0]
      if !line.isOpened, let parent = line.parentID, let lsn = line.parentLSN {
        return (parent.rawValue, lsn)
      }
      return (line.id.rawValue, nil)
    }
  }

  public func show(
    _ request: Request, branch: BranchID, project: ProjectID, account: AccountID
  ) async throws -> API.Timeline {
    let place = try await find(branch, project, account)
    let (window, events) = try await read(place)
    let from = max(request.from ?? window.earliestTime, window.earliestTime)
    let to = min(request.to ?? window.latestTime, window.latestTime)
    guard from <= to else {
      throw ControlPlaneError.value(
        "from", RFC3339.text(from), allowed: "earlier than 'to' and within the restore window")
    }
    let step = Self.step(seconds: to.timeIntervalSince(from), buckets: request.buckets)
    let grouped = EventGroups(events)
    var found = grouped.events(from: from, to: to)
    let leftOut = max(0, found.count - Self.mostEvents)
    found = Array(found.prefix(Self.mostEvents))
    let titles = core.eventNames.titles(line: place.source.line)
    for index in found.indices { found[index].title = titles[EventKey(found[index])] }
    return API.Timeline(
      from: from, to: to, bucketSeconds: step, window: Self.shown(window),
      buckets: TimelineBuckets(from: from, to: to, step: step).fill(events, grouped),
      events: found, eventsLeftOut: leftOut,
      keyframes: Self.thinned(
        events.keyframes.filter { (from...to).contains($0.time) }, to: 2 * request.buckets
      ).map {
        API.TimelineMark(
          id: "\($0.lsn)", name: $0.isComplete ? "complete" : "partial", lsn: "\($0.lsn)",
          timestamp: $0.time)
      }, snapshots: Self.marks(place.snapshots), dumps: Self.marks(place.dumps),
      children: Self.marks(place.children), restores: Self.restores(place))
  }

  /// More are not told; each has a line in the answer.
  private static let mostEvents = 1000

  func find(
    _ branch: BranchID, _ project: ProjectID, _ account: AccountID
  ) async throws -> Place {
    try await core.catalog.read { tx in
      let project = try core.project(tx, project, of: account)
      let branch = try core.branch(tx, branch, of: project.id)
      let snapshots = try tx.snapshots(of: project.id).filter { $0.branchID == branch.id }
      return Place(
        resolver: try MomentResolver(core, project, branch, tx), snapshots: snapshots,
        dumps: try tx.finishedDumps(of: branch.id),
        children: try tx.children(of: branch.id))
    }
  }

  func read(_ place: Place) async throws -> (window: RestoreWindow, events: LineEvents) {
    let window = try await place.resolver.window()
    let source = place.source
    let end = source.end ?? window.latestLSN
    let events = try await core.fleet.events(
      line: source.line, from: min(window.earliestLSN, end), to: end)
    return (window, events)
  }

  private static func shown(_ window: RestoreWindow) -> API.RestoreWindow {
    API.RestoreWindow(
      earliestLSN: window.earliestLSN.description, earliestTimestamp: window.earliestTime,
      latestLSN: window.latestLSN.description, latestTimestamp: window.latestTime)
  }

  /// A length that people know, so that `seconds` have at most `buckets` of it; a minute at least.
  static func step(seconds: TimeInterval, buckets: Int) -> Int {
    let known = [
      60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    ]
    let needed = seconds / Double(max(1, buckets))
    return known.first { Double($0) >= needed } ?? 2_592_000
  }

  private static func thinned(
    _ keyframes: [LineEvents.Keyframe], to limit: Int
  ) -> [LineEvents.Keyframe] {
    guard keyframes.count > limit else { return keyframes }
    let share = (keyframes.count + limit - 1) / limit
    return keyframes.enumerated().filter { $0.offset % share == 0 }.map(\.element)
  }

  private static func marks(_ snapshots: [SnapshotRecord]) -> [API.TimelineMark] {
    snapshots.map {
      API.TimelineMark(
        id: $0.id.rawValue, name: $0.name, lsn: $0.lsn.description,
        timestamp: $0.moment ?? $0.createdAt)
    }
  }

  /// Dumps of several databases at one moment are one mark.
  private static func marks(_ dumps: [DumpRecord]) -> [API.TimelineMark] {
    Dictionary(grouping: dumps, by: \.lsn).compactMap { lsn, dumps in
      guard let first = dumps.first else { return nil }
      let names = dumps.map(\.databaseName).sorted().joined(separator: ", ")
      return API.TimelineMark(
        id: first.id.rawValue, name: "dump of \(names)", lsn: lsn.description,
        timestamp: first.moment ?? first.createdAt)
    }.sorted { $0.timestamp < $1.timestamp }
  }

  private static func marks(_ children: [BranchRecord]) -> [API.TimelineMark] {
    children.compactMap { child in
      guard let lsn = child.parentLSN else { return nil }
      // The time of a head is that of the request where nothing else is known.
      let known = child.parentTimestamp.flatMap { $0.timeIntervalSince1970 > 0 ? $0 : nil }
      return API.TimelineMark(
        id: child.id.rawValue, name: child.name, lsn: lsn.description,
        timestamp: known ?? child.createdAt)
    }
  }

  /// Each line of the branch but the oldest began with a restore.
  private static func restores(_ place: Place) -> [API.TimelineMark] {
    place.resolver.lines.dropLast().compactMap { line in
      guard line.inheritsWindow, let lsn = line.parentLSN else { return nil }
      return API.TimelineMark(
        id: line.id.rawValue, name: "restored to \(lsn)", lsn: lsn.description,
        timestamp: line.createdAt)
    }
  }
}

/// Sums by buckets.
struct TimelineBuckets {
  let from: Date
  let to: Date
  let step: Int

  func fill(_ events: LineEvents, _ grouped: EventGroups) -> [API.TimelineBucket] {
    // Buckets stand on multiples of their length, so that they stay put when the view moves.
    let origin = floor(from.timeIntervalSince1970 / Double(step)) * Double(step)
    let count = max(1, Int(((to.timeIntervalSince1970 - origin) / Double(step)).rounded(.up)))
    var buckets = [API.TimelineBucket?](repeating: nil, count: count)
    func add(_ time: Date, _ lsn: LSN, _ change: (inout API.TimelineBucket) -> Void) {
      let index = Int((time.timeIntervalSince1970 - origin) / Double(step))
      guard time.timeIntervalSince1970 >= origin, buckets.indices.contains(index) else { return }
      var bucket =
        buckets[index]
        ?? API.TimelineBucket(
          start: Date(timeIntervalSince1970: origin + Double(index * step)), lsn: "\(lsn)")
      change(&bucket)
      buckets[index] = bucket
    }
    for minute in events.minutes {
      add(minute.start, minute.lsn) { bucket in
        bucket.commits += minute.commits
        bucket.aborts += minute.aborts
        bucket.walBytes += minute.walBytes
        bucket.rowsDeleted += minute.deletedRows
      }
    }
    for group in grouped.groups {
      add(group.time, group.lsn) { bucket in
        bucket.schemaChanges += 1
        bucket.fileDrops += group.dropped.count
      }
    }
    for change in events.changes where change.kind == .truncated {
      add(change.time, change.lsn) { $0.truncates += 1 }
    }
    return buckets.compactMap { $0 }
  }
}
