import Foundation

/// Something that the operator has to know, from when it was seen until it was over.
public struct AlertRecord: CatalogRecord, Hashable {
  public static let table = "alerts"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: String
  public var kind: String
  /// What it is about; of one kind and subject one alert is open at most.
  public var subject: String
  public var projectID: ProjectID?
  public var message: String
  public var hint: String
  public var createdAt: Date
  public var seenAt: Date
  public var resolvedAt: Date?

  public init(
    id: String, kind: String, subject: String, projectID: ProjectID?, message: String,
    hint: String, createdAt: Date
  ) {
    self.id = id
    self.kind = kind
    self.subject = subject
    self.projectID = projectID
    self.message = message
    self.hint = hint
    self.createdAt = createdAt
    seenAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, kind, subject, message, hint
    case projectID = "project_id"
    case createdAt = "created_at"
    case seenAt = "seen_at"
    case resolvedAt = "resolved_at"
  }
}

/// One message about an alert on its way to one receiver.
public struct AlertNoticeRecord: CatalogRecord, Hashable {
  public static let table = "alert_notices"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: String
  public var alertID: String
  /// `webhook` or `command`.
  public var channel: String
  /// `raised` or `resolved`.
  public var event: String
  public var attemptsCount = 0
  public var nextAttemptAt: Date?
  public var deliveredAt: Date?
  public var error: String?
  public var createdAt: Date

  public init(id: String, alertID: String, channel: String, event: String, createdAt: Date) {
    self.id = id
    self.alertID = alertID
    self.channel = channel
    self.event = event
    nextAttemptAt = createdAt
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, channel, event, error
    case alertID = "alert_id"
    case attemptsCount = "attempts_count"
    case nextAttemptAt = "next_attempt_at"
    case deliveredAt = "delivered_at"
    case createdAt = "created_at"
  }
}
