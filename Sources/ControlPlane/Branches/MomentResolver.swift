import APITypes
import Catalog
import Foundation
import PostgresFormat

/// Turns a moment of a branch into a line and an LSN from which a new line can start.
///
/// A restored branch's line goes on into its parent: LSNs before its start and times before it was
/// made are those of the parent, and never later than where the line starts.
struct MomentResolver: Sendable {
  let core: Core
  let project: ProjectRecord
  let branch: BranchRecord
  /// The branch's line and, as far as its window goes, its ancestors.
  let lines: [LineRecord]
  /// What the project promises when the resolver was made; a shrinking counts from when it takes effect.
  private let promise: RetentionWindow

  /// How long a line whose compute is starting or stopping is waited for.
  private static let patience = Duration.seconds(30)

  private var line: LineRecord { lines[0] }

  /// - Throws: ``ControlPlaneError`` where the branch's line is not there.
  init(
    _ core: Core, _ project: ProjectRecord, _ branch: BranchRecord, _ tx: CatalogTransaction
  ) throws {
    let lines = try tx.lineage(of: branch.lineID)
    guard !lines.isEmpty else {
      throw ControlPlaneError(.branchNotFound, "read branch '\(branch.name)': it has no line")
    }
    self.core = core
    self.project = project
    self.branch = branch
    self.lines = lines
    promise = RetentionWindow(
      of: project, try tx.retentionChange(of: project.id), at: core.clock.now)
  }

  /// Whether what is restored from this branch reaches as far back as its window does.
  var passesWindowOn: Bool { line.isOpened || line.inheritsWindow }

  /// - Throws: ``ControlPlaneError`` `.restorePointOutOfWindow`, naming the window's two ends.
  func resolve(_ moment: MomentRequest) async throws -> ResolvedMoment {
    try await checkRetention(moment)
    do {
      let found = try await patiently { try await resolve(moment, on: 0) }
      if case .lsn = moment, let edge = try await promisedEdge(), found.lsn < edge {
        throw OutsideLine()
      }
      return found
    } catch is OutsideLine {
      throw outOfWindow(moment, try await window())
    }
  }

  /// The LSN before which moments are no longer promised; `nil` where all that the lines hold is.
  private func promisedEdge() async throws -> LSN? {
    guard lines[lines.count - 1].createdAt < promise.start else { return nil }
    do {
      return try await resolve(.time(promise.start), on: 0).lsn
    } catch is OutsideLine {
      return nil
    }
  }

  /// What a moment that was resolved is dated; `nil` where nothing tells.
  ///
  /// The head is of now, but for what a server that lives elsewhere wrote, while nothing comes in of it.
  func time(of moment: MomentRequest, _ resolved: ResolvedMoment) -> Date? {
    switch moment {
    case .head: resolved.heldUntil ?? core.clock.now
    case .time(let time): time
    case .lsn: resolved.time
    }
  }

  /// The window that `GET` tells; its latest time is now, but for a server that lives elsewhere of which nothing
  /// comes in.
  func window() async throws -> RestoreWindow {
    let oldest = lines[lines.count - 1]
    var window = try await lineWindow(line)
    if lines.count > 1 {
      let first = try await lineWindow(oldest)
      window.earliestLSN = first.earliestLSN
      window.earliestTime = first.earliestTime
    }
    window.earliestTime = max(window.earliestTime, min(promise.start, window.latestTime))
    if let edge = try await promisedEdge() { window.earliestLSN = max(window.earliestLSN, edge) }
    if !window.hasEnded { window.latestTime = max(window.latestTime, core.clock.now) }
    return window
  }

  private func lineWindow(_ line: LineRecord) async throws -> RestoreWindow {
    guard let point = Self.pointer(line) else {
      var window = try await core.fleet.window(line: line.id.rawValue)
      // Until its first compute started nothing was written: it was what it began as.
      if Self.start(line) != nil { window.earliestTime = min(window.earliestTime, line.createdAt) }
      return window
    }
    return RestoreWindow(
      earliestLSN: point.lsn, earliestTime: line.createdAt, latestLSN: point.lsn,
      latestTime: core.clock.now)
  }

  private struct OutsideLine: Error {}

  private func resolve(_ moment: MomentRequest, on index: Int) async throws -> ResolvedMoment {
    let line = lines[index]
    if index + 1 < lines.count, let start = Self.start(line) {
      switch moment {
      case .lsn(let lsn) where lsn < start.lsn: return try await resolve(moment, on: index + 1)
      case .time(let time) where time < line.createdAt:
        if let reached = line.parentTime, time >= reached { return start }
        let found = try await resolve(moment, on: index + 1)
        return found.lsn > start.lsn ? start : found
      default: break
      }
    }
    if let point = Self.pointer(line) {
      switch moment {
      case .head: return point
      case .lsn(let lsn) where lsn == point.lsn: return point
      case .time(let time) where (line.createdAt...core.clock.now).contains(time): return point
      default: throw OutsideLine()
      }
    }
    do {
      return try await core.fleet.resolve(line: line.id.rawValue, moment: moment)
    } catch let error as ComputeFleetError {
      guard case .outOfWindow(let window) = error.code else { throw error }
      guard case .time(let time) = moment, Self.start(line) != nil,
        (line.createdAt..<max(line.createdAt, window.earliestTime)).contains(time)
      else { throw OutsideLine() }
      // Before its first compute started.
      return ResolvedMoment(lineID: line.id.rawValue, lsn: window.earliestLSN, time: time)
    }
  }

  /// A line that no compute has opened yet is its parent at one LSN and nothing else.
  private static func pointer(_ line: LineRecord) -> ResolvedMoment? {
    line.isOpened ? nil : start(line)
  }

  private static func start(_ line: LineRecord) -> ResolvedMoment? {
    guard let parent = line.parentID, let lsn = line.parentLSN else { return nil }
    return ResolvedMoment(lineID: parent.rawValue, lsn: lsn, time: line.parentTime)
  }

  /// Tries again while the fleet says that it will soon be able to.
  private func patiently(
    _ body: () async throws -> ResolvedMoment
  ) async throws -> ResolvedMoment {
    let deadline = ContinuousClock.now + Self.patience
    while true {
      do {
        return try await body()
      } catch let error as ComputeFleetError
        where error.code == .temporary && ContinuousClock.now < deadline
      {
        guard try await isChanging() else { throw error }
        try await Task.sleep(for: .milliseconds(100))
      }
    }
  }

  /// Whether an operation is at work on one of the lines' computes.
  private func isChanging() async throws -> Bool {
    try await core.catalog.read { [project, lines] tx in
      let computes = try tx.computes(project: project.id, branch: nil, endpoint: nil)
      let locks = computes.filter { compute in lines.contains { $0.id == compute.lineID } }
        .flatMap { compute in
          [OperationLock.branch(compute.branchID)]
            + (compute.endpointID.map { [OperationLock.endpoint($0)] } ?? [])
        }
      return try !locks.isEmpty && tx.holder(of: locks, in: project.id) != nil
    }
  }

  private func checkRetention(_ moment: MomentRequest) async throws {
    if case .head = moment { return }
    guard promise.seconds > 0 else {
      throw ControlPlaneError(
        .restorePointOutOfWindow,
        "open a moment of branch '\(branch.name)': the project keeps no history",
        hint: "branch from the head, or raise history_retention_seconds")
    }
    if case .time(let time) = moment, time < promise.start || time > core.clock.now {
      throw outOfWindow(moment, try await window())
    }
  }

  private func outOfWindow(_ moment: MomentRequest, _ window: RestoreWindow) -> ControlPlaneError {
    let asked =
      switch moment {
      case .head: "the head"
      case .lsn(let lsn): "LSN \(lsn)"
      case .time(let time): "time \(RFC3339.text(time))"
      }
    let times = "\(RFC3339.text(window.earliestTime)) to \(RFC3339.text(window.latestTime))"
    return ControlPlaneError(
      .restorePointOutOfWindow,
      "open \(asked) of branch '\(branch.name)': it lies outside what can be restored, "
        + "\(times), LSN \(window.earliestLSN) to \(window.latestLSN)",
      hint: window.hasEnded
        ? "what the attached server has written since \(RFC3339.text(window.latestTime)) has not come; name a "
          + "moment between the two"
        : "name a moment between the two")
  }
}

extension MomentRequest {
  /// What two fields of a request mean; both absent are the head.
  ///
  /// - Parameter names: the fields', for messages.
  /// - Throws: ``ControlPlaneError`` where both are set or the LSN is none.
  init(lsn: String?, time: Date?, names: (lsn: String, time: String)) throws {
    switch (lsn, time) {
    case (.some, .some):
      throw ControlPlaneError(
        .restorePointAmbiguous, "'\(names.lsn)' and '\(names.time)' are both set",
        hint: "name one of them")
    case (let text?, nil):
      guard let lsn = LSN(text) else {
        throw ControlPlaneError.value(names.lsn, text, allowed: "an LSN like 0/1A2B3C")
      }
      self = .lsn(lsn)
    case (nil, let time?): self = .time(time)
    case (nil, nil): self = .head
    }
  }
}
