import Foundation

extension API {
  /// How far a running compute's changes are from being safe in the object store.
  public struct CaptureStatus: Codable, Hashable, Sendable {
    public var branchID: String
    public var endpointID: String?
    /// Age of the oldest change that is not in the object store; 0 where all are.
    public var lagSeconds: Double
    /// WAL on the compute's disk.
    public var walBytes: Int
    /// What the compute's agent complains of.
    public var alarms: [String]

    public init(
      branchID: String, endpointID: String?, lagSeconds: Double, walBytes: Int, alarms: [String]
    ) {
      self.branchID = branchID
      self.endpointID = endpointID
      self.lagSeconds = lagSeconds
      self.walBytes = walBytes
      self.alarms = alarms
    }

    enum CodingKeys: String, CodingKey {
      case alarms
      case branchID = "branch_id"
      case endpointID = "endpoint_id"
      case lagSeconds = "lag_seconds"
      case walBytes = "wal_bytes"
    }
  }

  /// The answer of `GET /projects/{project_id}/capture`: running computes only, since the changes of
  /// others are in the object store.
  public struct CaptureResponse: Codable, Hashable, Sendable {
    public var capture: [CaptureStatus]
    /// Seconds from which on a lag is an alert.
    public var alertSeconds: Double

    public init(capture: [CaptureStatus], alertSeconds: Double) {
      self.capture = capture
      self.alertSeconds = alertSeconds
    }

    enum CodingKeys: String, CodingKey {
      case capture
      case alertSeconds = "alert_seconds"
    }
  }

  /// What an alert is about.
  public enum AlertKind: String, WireEnumeration {
    case backupFailed = "backup_failed"
    case backupMissed = "backup_missed"
    /// A branch whose time is over has children.
    case branchNotExpired = "branch_not_expired"
    case captureLag = "capture_lag"
    case computeAlarm = "compute_alarm"
    case drillFailed = "drill_failed"
    case drillSlow = "drill_slow"
    case verificationFailed = "verification_failed"
    /// A drill or a verification could not be done, and says nothing.
    case proofNotMade = "proof_not_made"
    case lowDisk = "low_disk"
    case slotGrowth = "slot_growth"
    /// A server elsewhere is not followed any more.
    case attachmentFailed = "attachment_failed"
    /// A server elsewhere has not been reached for long.
    case sourceAway = "source_away"
    case storeUnreachable = "store_unreachable"
    case mirrorLag = "mirror_lag"
  }

  /// Something that the operator has to know.
  public struct Alert: Codable, Hashable, Sendable {
    public var id: String
    public var kind: AlertKind
    public var subject: String
    public var projectID: String?
    public var message: String
    public var hint: String
    public var createdAt: Date
    /// Absent while it lasts.
    public var resolvedAt: Date?
    /// Messages about it, by receiver.
    public var notices: [AlertNotice]

    public init(
      id: String, kind: AlertKind, subject: String, projectID: String?, message: String,
      hint: String, createdAt: Date, resolvedAt: Date?, notices: [AlertNotice]
    ) {
      self.id = id
      self.kind = kind
      self.subject = subject
      self.projectID = projectID
      self.message = message
      self.hint = hint
      self.createdAt = createdAt
      self.resolvedAt = resolvedAt
      self.notices = notices
    }

    enum CodingKeys: String, CodingKey {
      case id, kind, subject, message, hint, notices
      case projectID = "project_id"
      case createdAt = "created_at"
      case resolvedAt = "resolved_at"
    }
  }

  /// A message about an alert, and whether it arrived.
  public struct AlertNotice: Codable, Hashable, Sendable {
    public var channel: String
    public var event: String
    public var attempts: Int
    public var deliveredAt: Date?
    public var error: String?

    public init(
      channel: String, event: String, attempts: Int, deliveredAt: Date?, error: String?
    ) {
      self.channel = channel
      self.event = event
      self.attempts = attempts
      self.deliveredAt = deliveredAt
      self.error = error
    }

    enum CodingKeys: String, CodingKey {
      case channel, event, attempts, error
      case deliveredAt = "delivered_at"
    }
  }

  public struct AlertListResponse: Codable, Hashable, Sendable {
    public var alerts: [Alert]
    public init(alerts: [Alert]) { self.alerts = alerts }
  }

  /// What webhooks get as their body, and commands on standard input.
  public struct AlertMessage: Codable, Hashable, Sendable {
    /// `raised` or `resolved`.
    public var event: String
    public var alert: Alert

    public init(event: String, alert: Alert) {
      self.event = event
      self.alert = alert
    }
  }
}
