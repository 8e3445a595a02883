import APITypes
import Catalog
import Foundation
import PostgresFormat

/// Turns a moment of a branch into a line and an LSN from which a new line can start.
struct MomentResolver: Sendable {
  let core: Core
  let project: ProjectRecord
  let branch: BranchRecord
  let line: LineRecord

  /// - Throws: ``ControlPlaneError`` `.restorePointOutOfWindow`, naming the window's two ends.
  func resolve(_ moment: MomentRequest) async throws -> ResolvedMoment {
    try await checkRetention(moment)
    if let point = branchPoint { return try resolve(moment, atPointer: point) }
    do {
      return try await core.fleet.resolve(line: line.id.rawValue, moment: moment)
    } catch let error as ComputeFleetError {
      guard case .outOfWindow(let window) = error.code else { throw error }
      throw outOfWindow(moment, clamp(window))
    }
  }

  /// The window that `GET` tells; its latest time is now.
  func window() async throws -> RestoreWindow {
    if let point = branchPoint { return pointerWindow(point) }
    return clamp(try await core.fleet.window(line: line.id.rawValue))
  }

  /// A line that no compute has opened yet is its parent at one LSN and nothing else.
  private var branchPoint: (parent: CatalogLineID, lsn: LSN)? {
    guard !line.isOpened, let parent = line.parentID, let lsn = line.parentLSN else { return nil }
    return (parent, lsn)
  }

  private func pointerWindow(_ point: (parent: CatalogLineID, lsn: LSN)) -> RestoreWindow {
    RestoreWindow(
      earliestLSN: point.lsn, earliestTime: line.createdAt, latestLSN: point.lsn,
      latestTime: core.clock.now)
  }

  private func resolve(
    _ moment: MomentRequest, atPointer point: (parent: CatalogLineID, lsn: LSN)
  ) throws -> ResolvedMoment {
    let window = pointerWindow(point)
    let isInside =
      switch moment {
      case .head: true
      case .lsn(let lsn): lsn == point.lsn
      case .time(let time): (window.earliestTime...window.latestTime).contains(time)
      }
    guard isInside else { throw outOfWindow(moment, window) }
    return ResolvedMoment(lineID: point.parent.rawValue, lsn: point.lsn, time: nil)
  }

  private var oldestPromised: Date {
    core.clock.now.addingTimeInterval(-Double(project.historyRetentionSeconds))
  }

  private func checkRetention(_ moment: MomentRequest) async throws {
    if case .head = moment { return }
    guard project.historyRetentionSeconds > 0 else {
      throw ControlPlaneError(
        .restorePointOutOfWindow,
        "open a moment of branch '\(branch.name)': the project keeps no history",
        hint: "branch from the head, or raise history_retention_seconds")
    }
    if case .time(let time) = moment, time < oldestPromised || time > core.clock.now {
      throw outOfWindow(moment, try await window())
    }
  }

  private func clamp(_ window: RestoreWindow) -> RestoreWindow {
    var window = window
    window.earliestTime = max(window.earliestTime, oldestPromised)
    window.latestTime = max(window.latestTime, core.clock.now)
    return window
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
      hint: "name a moment between the two")
  }
}
