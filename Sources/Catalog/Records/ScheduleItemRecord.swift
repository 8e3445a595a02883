import Foundation

/// One line of a branch's backup schedule, with when it runs next and how it ran last.
public struct ScheduleItemRecord: CatalogRecord, Hashable {
  public static let table = "backup_schedules"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: ScheduleItemID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID
  /// The place in the schedule as the user wrote it.
  public var position: Int
  /// `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
  public var frequency: String
  public var hour: Int?
  public var day: Int?
  public var month: Int?
  /// Absent: what it makes is kept until it is deleted.
  public var retentionSeconds: Int?
  /// `snapshot` or `dump`.
  public var kind: String
  /// IANA's name.
  public var timeZone: String
  /// The time for which the next run is due; stays while that run fails.
  public var nextRunAt: Date
  /// When a failed run is tried again.
  public var retryAt: Date?
  /// Failures of the run that is due.
  public var failuresCount: Int
  public var lastRunAt: Date?
  /// The time for which the last run was due.
  public var lastRunFor: Date?
  /// `finished`, `late` or `failed`.
  public var lastRunStatus: String?
  public var lastRunError: String?
  public var createdAt: Date

  public init(
    id: ScheduleItemID, accountID: AccountID, plan: String, projectID: ProjectID,
    branchID: BranchID, position: Int, frequency: String, hour: Int?, day: Int?, month: Int?,
    retentionSeconds: Int?, kind: String, timeZone: String, nextRunAt: Date, createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.branchID = branchID
    self.position = position
    self.frequency = frequency
    self.hour = hour
    self.day = day
    self.month = month
    self.retentionSeconds = retentionSeconds
    self.kind = kind
    self.timeZone = timeZone
    self.nextRunAt = nextRunAt
    failuresCount = 0
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, position, frequency, hour, day, month, kind
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case retentionSeconds = "retention_seconds"
    case timeZone = "time_zone"
    case nextRunAt = "next_run_at"
    case retryAt = "retry_at"
    case failuresCount = "failures_count"
    case lastRunAt = "last_run_at"
    case lastRunFor = "last_run_for"
    case lastRunStatus = "last_run_status"
    case lastRunError = "last_run_error"
    case createdAt = "created_at"
  }
}
