import Foundation

extension API {
  public enum BackupFrequency: String, WireEnumeration {
    case hourly, daily, weekly, monthly, yearly
  }

  public enum BackupKind: String, WireEnumeration {
    case snapshot, dump
  }

  /// How a scheduled run ended: in time, after the time it was due, or not at all.
  public enum BackupRunStatus: String, WireEnumeration {
    case finished, late, failed
  }

  /// When a branch is backed up, and what becomes of it. `id` and the fields from
  /// `next_run_at` on are answers; in requests they are ignored.
  public struct BackupScheduleItem: Codable, Hashable, Sendable {
    public var frequency: BackupFrequency
    /// 0 to 23, in the time zone; not for `hourly`.
    public var hour: Int?
    /// Weekly 1 to 7, Monday is 1; monthly and yearly 1 to 31, past the month's end is its last day.
    public var day: Int?
    /// 1 to 12, for `yearly`.
    public var month: Int?
    /// At least 3600; absent: kept until deleted.
    public var retentionSeconds: Int?
    public var kind: BackupKind?
    /// IANA's name, such as `Europe/Berlin`; absent is UTC.
    public var timeZone: String?
    /// Names the item until the schedule is replaced; only in answers, as all that follows.
    public var id: String?
    public var nextRunAt: Date?
    public var lastRunAt: Date?
    /// The time for which the last run was due.
    public var lastRunFor: Date?
    public var lastRunStatus: BackupRunStatus?
    public var lastRunError: String?
    /// When a failed run is tried again.
    public var retryAt: Date?

    public init(
      frequency: BackupFrequency, hour: Int? = nil, day: Int? = nil, month: Int? = nil,
      retentionSeconds: Int? = nil, kind: BackupKind? = nil, timeZone: String? = nil
    ) {
      self.frequency = frequency
      self.hour = hour
      self.day = day
      self.month = month
      self.retentionSeconds = retentionSeconds
      self.kind = kind
      self.timeZone = timeZone
    }

    public static let hours = 0...23
    public static func days(_ frequency: BackupFrequency) -> ClosedRange<Int> {
      frequency == .weekly ? 1...7 : 1...31
    }
    public static let months = 1...12
    /// An hour to a hundred years; seconds.
    public static let retention = 3600...3_153_600_000

    public init(from decoder: any Decoder) throws {
      let values = try decoder.container(keyedBy: CodingKeys.self)
      frequency = try values.decode(BackupFrequency.self, forKey: .frequency)
      hour = try values.wholeNumber(.hour, in: Self.hours)
      day = try values.wholeNumber(.day, in: Self.days(frequency))
      month = try values.wholeNumber(.month, in: Self.months)
      retentionSeconds = try values.wholeNumber(.retentionSeconds, in: Self.retention)
      kind = try values.decodeIfPresent(BackupKind.self, forKey: .kind)
      timeZone = try values.decodeIfPresent(String.self, forKey: .timeZone)
      id = try values.decodeIfPresent(String.self, forKey: .id)
      nextRunAt = try values.decodeIfPresent(Date.self, forKey: .nextRunAt)
      lastRunAt = try values.decodeIfPresent(Date.self, forKey: .lastRunAt)
      lastRunFor = try values.decodeIfPresent(Date.self, forKey: .lastRunFor)
      lastRunStatus = try values.decodeIfPresent(BackupRunStatus.self, forKey: .lastRunStatus)
      lastRunError = try values.decodeIfPresent(String.self, forKey: .lastRunError)
      retryAt = try values.decodeIfPresent(Date.self, forKey: .retryAt)
    }

    enum CodingKeys: String, CodingKey {
      case frequency, hour, day, month, kind, id
      case retentionSeconds = "retention_seconds"
      case timeZone = "time_zone"
      case nextRunAt = "next_run_at"
      case lastRunAt = "last_run_at"
      case lastRunFor = "last_run_for"
      case lastRunStatus = "last_run_status"
      case lastRunError = "last_run_error"
      case retryAt = "retry_at"
    }
  }

  /// A branch's backup schedule; empty is off.
  public struct BackupSchedule: Codable, Hashable, Sendable {
    public var schedule: [BackupScheduleItem]

    public init(schedule: [BackupScheduleItem]) { self.schedule = schedule }
  }

  /// An answer without fields.
  public struct EmptyResponse: Codable, Hashable, Sendable {
    public init() {}
  }
}
