import Foundation
import PostgresFormat

/// A check of all that the store holds, of a project or of everything.
public struct VerificationRecord: CatalogRecord, Hashable {
  public static let table = "verifications"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// What was looked at, and what is wrong.
  public struct Result: Codable, Hashable, Sendable {
    public var lines = 0
    public var objects = 0
    public var bytes = 0
    public var moments = 0
    /// At most 100 of them; each names its object.
    public var problems: [String] = []
    public var problemsCount = 0

    public init() {}

    enum CodingKeys: String, CodingKey {
      case lines, objects, bytes, moments, problems
      case problemsCount = "problems_count"
    }
  }

  public var id: String
  public var accountID: AccountID
  public var plan: String
  /// `nil`: of everything.
  public var projectID: ProjectID?
  /// `scheduled`, `running`, `passed`, `failed` (it found problems) or `error` (it could not be done).
  public var status: String
  public var result: Result
  public var error: String?
  public var createdAt: Date
  public var finishedAt: Date?

  public init(
    id: String, accountID: AccountID, plan: String, projectID: ProjectID?, status: String,
    createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.status = status
    result = Result()
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, status, result, error
    case accountID = "account_id"
    case projectID = "project_id"
    case createdAt = "created_at"
    case finishedAt = "finished_at"
  }
}

/// A moment of a branch that was opened to prove that it can be.
public struct DrillRecord: CatalogRecord, Hashable {
  public static let table = "drills"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// What the opened moment was found to be.
  public struct Result: Codable, Hashable, Sendable {
    /// From the request to the first query's answer.
    public var millisecondsToOpen: Int?
    public var objectiveMilliseconds: Int?
    public var databases: Int?
    public var tables: Int?
    public var rows: Int?
    /// `passed`, `failed`, or why it was not run, or not to its end.
    public var amcheck: String?

    public init() {}

    enum CodingKeys: String, CodingKey {
      case databases, tables, rows, amcheck
      case millisecondsToOpen = "milliseconds_to_open"
      case objectiveMilliseconds = "objective_milliseconds"
    }
  }

  public var id: String
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID
  public var lineID: CatalogLineID
  public var lsn: LSN?
  public var moment: Date?
  /// The line that was made for it, to be removed.
  public var scratchLineID: CatalogLineID?
  /// `scheduled`, `running`, `passed`, `failed` or `error` (it could not be done).
  public var status: String
  public var result: Result
  public var error: String?
  public var createdAt: Date
  public var finishedAt: Date?

  public init(
    id: String, accountID: AccountID, plan: String, projectID: ProjectID, branchID: BranchID,
    lineID: CatalogLineID, status: String, createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.branchID = branchID
    self.lineID = lineID
    self.status = status
    result = Result()
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, lsn, moment, status, result, error
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case lineID = "line_id"
    case scratchLineID = "scratch_line_id"
    case createdAt = "created_at"
    case finishedAt = "finished_at"
  }
}
