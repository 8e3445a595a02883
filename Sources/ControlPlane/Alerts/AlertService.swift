import APITypes
import Catalog
import Foundation
import Logging
import Synchronization

/// Alerts: raised once, told until it is heard, taken back when they are over.
///
/// *State and invariants*: 1. Of one kind and subject one alert is open at most. 2. An alert and the
/// notices of it are one transaction: what was raised is told, though serve dies in between. 3. A notice is
/// sent until its receiver takes it, or ``attempts`` are used up; a receiver may get one twice. 4. What
/// comes back within ``patience`` seconds was never over. 5. A receiver that is slow holds up neither the
/// looking nor the other receivers. 6. What takes an alert back goes to a receiver that took the alert, after it.
///
/// *Concurrency*: ``run(every:)`` once.
public final class AlertService: Sendable {
  let core: Core
  /// When each open alert's condition was last seen.
  private let seen = Mutex<[Subject: Date]>([:])

  private struct Subject: Hashable {
    var kind: String
    var subject: String
  }

  /// How long a condition must be gone before its alert is over; seconds.
  static let patience: TimeInterval = 15
  /// 5 s, 10 s … up to ``longestPause``.
  private static let firstPause: TimeInterval = 5
  private static let longestPause: TimeInterval = 600
  static let attempts = 50
  private static let batch = 50

  init(core: Core) { self.core = core }

  /// Open alerts, then those that are over, newest first; the operator's.
  public func list(account: AccountRecord, limit: Int) async throws -> [API.Alert] {
    guard account.isAdmin else {
      throw ControlPlaneError(.routeNotFound, "list alerts: they are the operator's")
    }
    return try await core.catalog.read { tx in
      try tx.alerts(limit: limit).map { Self.present($0, try tx.notices(of: $0.id)) }
    }
  }

  private static func present(_ alert: AlertRecord, _ notices: [AlertNoticeRecord]) -> API.Alert {
    API.Alert(
      id: alert.id, kind: API.AlertKind(rawValue: alert.kind) ?? .computeAlarm,
      subject: alert.subject, projectID: alert.projectID?.rawValue, message: alert.message,
      hint: alert.hint, createdAt: alert.createdAt, resolvedAt: alert.resolvedAt,
      notices: notices.map {
        API.AlertNotice(
          channel: $0.channel, event: $0.event, attempts: $0.attemptsCount,
          deliveredAt: $0.deliveredAt, error: $0.error)
      })
  }

  /// Watches, and tells each receiver beside the others, until the task is cancelled.
  func run(every interval: Duration = .seconds(5)) async {
    await run(every: interval) { try await AlertConditions(core: self.core).now() }
  }

  /// - Parameter look: finds what is wrong now.
  func run(
    every interval: Duration, _ look: @escaping @Sendable () async throws -> [AlertCondition]
  ) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.loop(interval) { try await self.round(try await look()) } }
      for channel in core.settings.alerts.channels {
        group.addTask { await self.loop(interval) { try await self.deliver(to: channel) } }
      }
    }
  }

  private func loop(_ interval: Duration, _ work: () async throws -> Void) async {
    await PausedLoop(every: interval).run(
      onFailure: {
        core.logger.error("alerts could not be kept", metadata: ["error": "\($0)"])
      },
      {
        try await work()
        return false
      })
  }

  /// Raises what is new and takes back what is over.
  func round(_ conditions: [AlertCondition]) async throws {
    let now = core.clock.now
    let open = try await core.catalog.read { try $0.openAlerts() }
    var over: [AlertRecord] = []
    let known = Dictionary(
      open.map { (Subject(kind: $0.kind, subject: $0.subject), $0) },
      uniquingKeysWith: { first, _ in first })
    seen.withLock { seen in
      for condition in conditions { seen[Self.subject(condition)] = now }
      // After a restart an open alert is given its time again.
      for (subject, alert) in known {
        let last = seen[subject] ?? now
        seen[subject] = last
        if now.timeIntervalSince(last) > Self.patience { over.append(alert) }
      }
      seen = seen.filter { known[$0.key] != nil || now.timeIntervalSince($0.value) < Self.patience }
    }
    // Whoever finds the same twice in one round tells of one thing.
    var told = Set(known.keys)
    for condition in conditions where told.insert(Self.subject(condition)).inserted {
      try await write { tx in try self.raise(condition, at: now, tx) }
    }
    for alert in over {
      try await write { tx in
        var ended = alert
        ended.resolvedAt = now
        try tx.update(ended)
        try self.announce(ended, "resolved", at: now, tx)
      }
    }
  }

  /// One alert's change. Where it cannot be made the others are made all the same, and the next round tries again.
  private func write(
    _ change: @escaping @Sendable (CatalogTransaction) throws -> Void
  ) async throws {
    do {
      try await core.catalog.write { try change($0) }
    } catch {
      try Task.checkCancellation()
      core.logger.error("an alert could not be kept", metadata: ["error": "\(error)"])
    }
  }

  private static func subject(_ condition: AlertCondition) -> Subject {
    Subject(kind: condition.kind.rawValue, subject: condition.subject)
  }

  private func raise(
    _ condition: AlertCondition, at now: Date, _ tx: CatalogTransaction
  ) throws {
    core.logger.warning(
      "alert", metadata: ["kind": "\(condition.kind.rawValue)", "message": "\(condition.message)"])
    let alert = try tx.insert(
      AlertRecord(
        id: core.names.alert(), kind: condition.kind.rawValue, subject: condition.subject,
        projectID: condition.projectID, message: condition.message, hint: condition.hint,
        createdAt: now))
    try announce(alert, "raised", at: now, tx)
  }

  private func announce(
    _ alert: AlertRecord, _ event: String, at now: Date, _ tx: CatalogTransaction
  ) throws {
    for channel in core.settings.alerts.channels {
      try tx.insert(
        AlertNoticeRecord(
          id: core.random.uuid(), alertID: alert.id, channel: channel.name, event: event,
          createdAt: now))
    }
  }

  /// Sends a receiver what is due.
  func deliver(to channel: any AlertChannel) async throws {
    let now = core.clock.now
    let due = try await core.catalog.read { tx in
      try tx.dueNotices(to: channel.name, at: now, limit: Self.batch).compactMap { notice in
        try tx.alert(notice.alertID).map { (notice, $0) }
      }
    }
    for (notice, alert) in due {
      var sent = notice
      sent.attemptsCount += 1
      do {
        try await channel.send(
          API.AlertMessage(event: notice.event, alert: Self.present(alert, [])))
        sent.deliveredAt = core.clock.now
        sent.nextAttemptAt = nil
        sent.error = nil
      } catch {
        // What was cut off is sent by the next process; it is not the receiver's fault.
        try Task.checkCancellation()
        sent.error = "\(error)"
        let pause = Self.firstPause * Double(1 << min(sent.attemptsCount - 1, 10))
        sent.nextAttemptAt =
          sent.attemptsCount < Self.attempts
          ? core.clock.now.addingTimeInterval(min(pause, Self.longestPause)) : nil
      }
      let record = sent
      try await core.catalog.write { try $0.update(record) }
    }
  }
}
