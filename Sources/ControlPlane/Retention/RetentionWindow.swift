import Catalog
import Foundation

/// What a project promises at one time: how far back moments can be opened.
public struct RetentionWindow: Sendable, Hashable {
  /// Length in force, seconds; 0 opens no moment but the head.
  public var seconds: Int
  /// The oldest moment promised. Later than `seconds` ago where the window grew or the project is
  /// young: growing brings nothing back.
  public var start: Date

  /// - Parameters:
  ///   - change: the project's last change, where it has one.
  ///   - date: not before the last change was asked for.
  init(of project: ProjectRecord, _ change: RetentionChangeRecord?, at date: Date) {
    seconds = project.historyRetentionSeconds
    if let change, date < change.effectiveAt { seconds = max(seconds, change.previousSeconds) }
    start = max(
      date.addingTimeInterval(-Double(seconds)), change?.floor ?? .distantPast, project.createdAt)
  }
}

/// A shrinking that has been asked for and can still be cancelled.
public struct PendingRetention: Sendable, Hashable {
  public var seconds: Int
  public var previousSeconds: Int
  public var requestedAt: Date
  public var effectiveAt: Date

  init?(of project: ProjectRecord, _ change: RetentionChangeRecord?, at date: Date) {
    guard let change, date < change.effectiveAt,
      change.previousSeconds > project.historyRetentionSeconds
    else { return nil }
    seconds = project.historyRetentionSeconds
    previousSeconds = change.previousSeconds
    requestedAt = change.requestedAt
    effectiveAt = change.effectiveAt
  }
}
