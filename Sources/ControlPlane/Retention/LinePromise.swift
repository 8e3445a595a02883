import Catalog
import Foundation
import PostgresFormat

/// What is promised of one line of history, for whoever evicts it.
public struct LinePromise: Sendable, Hashable {
  public var lineID: String
  /// The start of the window, where a branch points to the line; one that can be recovered counts.
  public var start: Date?
  /// Whether the window goes on into the line's parent.
  public var inheritsWindow: Bool
  /// The line that it began on; that one or an ancestor of it is its parent in the history.
  public var parentID: String?
  /// Snapshots and leases.
  public var moments: [LSN] = []
  /// Sessions that read the past, with the time when they began.
  public var readings: [Reading] = []

  public struct Reading: Sendable, Hashable {
    public var lsn: LSN
    public var since: Date
  }
}

extension RetentionService {
  /// How long a line that nothing points to is left alone: an operation may be about to point to it.
  private static let unpointedSeconds: TimeInterval = 86_400

  /// Promises of all lines that the catalog knows, leases included, as one transaction saw them.
  ///
  /// A line that nothing points to is left out, which keeps it whole, while it is young or an operation
  /// of its project runs.
  /// - Parameters:
  ///   - time: at which they hold; `nil`: now.
  ///   - withGuarded: lines that nothing points to are there all the same, with what is known to be needed of them:
  ///     for whoever looks at history instead of evicting it. After a recovery that is all of it.
  public func promises(
    at time: Date? = nil, withGuarded: Bool = false
  ) async throws -> [LinePromise] {
    let now = time ?? core.clock.now
    return try await core.catalog.read { tx in
      var promises = try self.unpointed(tx, now)
      for (line, window) in try self.pointers(tx, now) {
        guard promises[line] != nil else { continue }
        let known = promises[line]?.start
        promises[line]?.start = min(known ?? window.start, window.start)
      }
      for lease in try tx.leases(after: now) { promises[lease.lineID]?.moments.append(lease.lsn) }
      for snapshot in try tx.allSnapshots() {
        promises[snapshot.lineID]?.moments.append(snapshot.lsn)
      }
      for reading in try tx.readingComputes() {
        promises[reading.lineID]?.readings.append(
          .init(lsn: reading.lsn, since: reading.createdAt))
      }
      // Unfinished dumps and the work that starts from a moment.
      for dump in try tx.unfinishedDumps() { promises[dump.lineID]?.moments.append(dump.lsn) }
      for scratch in try tx.scratchComputes() {
        guard let line = scratch.parentLineID, let lsn = scratch.parentLSN else { continue }
        promises[line]?.moments.append(lsn)
      }
      let busy = try tx.busyProjects()
      let lines = try tx.allLines()
      let guarded = lines.filter { line in
        promises[line.id]?.start == nil
          && (busy.contains(line.projectID)
            || now.timeIntervalSince(line.createdAt) < Self.unpointedSeconds)
      }
      self.addUnopened(lines, Set(guarded.map(\.id)), now, to: &promises)
      if !withGuarded { for line in guarded { promises[line.id] = nil } }
      // Its WAL comes before the keyframe that will need it.
      for copied in try tx.attachments(in: .copying) { promises[copied.lineID] = nil }
      return promises.values.sorted { $0.lineID < $1.lineID }
    }
  }

  /// A line that no compute has opened yet is nothing but a moment of another line, for as long as something
  /// points to it; one that inherits its window is that line's window as well.
  /// - Parameter guarded: lines that nothing points to yet.
  private func addUnopened(
    _ lines: [LineRecord], _ guarded: Set<CatalogLineID>, _ now: Date,
    to promises: inout [CatalogLineID: LinePromise]
  ) {
    for line in lines where !line.isOpened {
      guard let parent = line.parentID, let lsn = line.parentLSN, promises[parent] != nil,
        promises[line.id]?.start != nil || guarded.contains(line.id)
      else { continue }
      promises[parent]?.moments.append(lsn)
      guard line.inheritsWindow else { continue }
      let start = promises[line.id]?.start ?? now
      let known = promises[parent]?.start ?? start
      promises[parent]?.start = min(known, start)
    }
  }

  private func unpointed(
    _ tx: CatalogTransaction, _ now: Date
  ) throws -> [CatalogLineID: LinePromise] {
    var promises: [CatalogLineID: LinePromise] = [:]
    for line in try tx.allLines() {
      promises[line.id] = LinePromise(
        lineID: line.id.rawValue, inheritsWindow: line.inheritsWindow,
        parentID: line.parentID?.rawValue)
    }
    return promises
  }

  /// Lines that branches and computes point to, with their windows.
  private func pointers(
    _ tx: CatalogTransaction, _ now: Date
  ) throws -> [(CatalogLineID, RetentionWindow)] {
    let recoverable = now.addingTimeInterval(-Presenter.recoverySeconds)
    var windows: [ProjectID: RetentionWindow] = [:]
    for project in try tx.allProjects() where project.deletedAt.map({ $0 > recoverable }) ?? true {
      windows[project.id] = RetentionWindow(
        of: project, try tx.retentionChange(of: project.id), at: now)
    }
    var result: [(CatalogLineID, RetentionWindow)] = []
    for branch in try tx.branches(recoverableSince: recoverable) {
      if let window = windows[branch.projectID] { result.append((branch.lineID, window)) }
    }
    let running = try tx.computeLines()
    for line in try tx.allLines() where running.contains(line.id) {
      if let window = windows[line.projectID] { result.append((line.id, window)) }
    }
    return result
  }
}
