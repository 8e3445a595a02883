import APITypes
import Foundation
import PostgresFormat

/// A dump. Its objects lie in the store below `dumps/<id>/` until `removedAt` says that they are
/// gone. While it is unfinished its line's history at the LSN is needed.
public struct DumpRecord: CatalogRecord, Hashable {
  public static let table = "dumps"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: DumpID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID
  public var databaseName: String
  public var lineID: CatalogLineID
  public var lsn: LSN
  /// The moment's time, where it is known.
  public var moment: Date?
  public var format: API.DumpFormat
  public var jobs: Int
  /// Made on request, not by a schedule.
  public var isManual: Bool
  public var isVerifiedAfter: Bool
  public var status = API.DumpStatus.queued
  /// The last operation that works, or worked, on it.
  public var operationID: OperationID
  public var progressBytes = 0
  public var tablesDone = 0
  public var tablesTotal = 0
  /// Of the download.
  public var sizeBytes: Int?
  public var sha256: String?
  public var verification: API.DumpVerification?
  public var error: String?
  public var createdAt: Date
  public var startedAt: Date?
  public var finishedAt: Date?
  public var expiresAt: Date?
  public var deletedAt: Date?
  /// When its objects were gone from the store.
  public var removedAt: Date?

  public init(
    id: DumpID, project: ProjectRecord, branchID: BranchID, databaseName: String,
    lineID: CatalogLineID, lsn: LSN, moment: Date?, format: API.DumpFormat, jobs: Int,
    isManual: Bool, isVerifiedAfter: Bool, operationID: OperationID, createdAt: Date,
    expiresAt: Date?
  ) {
    self.id = id
    accountID = project.accountID
    plan = project.plan
    projectID = project.id
    self.branchID = branchID
    self.databaseName = databaseName
    self.lineID = lineID
    self.lsn = lsn
    self.moment = moment
    self.format = format
    self.jobs = jobs
    self.isManual = isManual
    self.isVerifiedAfter = isVerifiedAfter
    self.operationID = operationID
    self.createdAt = createdAt
    self.expiresAt = expiresAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, lsn, moment, format, jobs, status, sha256, verification, error
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case databaseName = "database_name"
    case lineID = "line_id"
    case isManual = "is_manual"
    case isVerifiedAfter = "is_verified_after"
    case operationID = "operation_id"
    case progressBytes = "progress_bytes"
    case tablesDone = "tables_done"
    case tablesTotal = "tables_total"
    case sizeBytes = "size_bytes"
    case createdAt = "created_at"
    case startedAt = "started_at"
    case finishedAt = "finished_at"
    case expiresAt = "expires_at"
    case deletedAt = "deleted_at"
    case removedAt = "removed_at"
  }
}

/// A compute on a line of its own that one operation needs for a while. The row is written before
/// the compute is, so that what a killed `serve` left behind is found and removed.
public struct ScratchComputeRecord: CatalogRecord, Hashable {
  public static let table = "scratch_computes"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: ComputeID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var operationID: OperationID
  public var lineID: CatalogLineID
  /// The moment that it starts from; `nil` for an empty one.
  public var parentLineID: CatalogLineID?
  public var parentLSN: LSN?
  public var createdAt: Date

  public init(
    id: ComputeID, operation: OperationRecord, lineID: CatalogLineID,
    parentLineID: CatalogLineID?, parentLSN: LSN?, createdAt: Date
  ) {
    self.id = id
    accountID = operation.accountID
    plan = operation.plan
    projectID = operation.projectID
    operationID = operation.id
    self.lineID = lineID
    self.parentLineID = parentLineID
    self.parentLSN = parentLSN
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan
    case accountID = "account_id"
    case projectID = "project_id"
    case operationID = "operation_id"
    case lineID = "line_id"
    case parentLineID = "parent_line_id"
    case parentLSN = "parent_lsn"
    case createdAt = "created_at"
  }
}

extension OperationRecord {
  private static let notesKey = "notes"

  /// What it did that the caller should know, one sentence each.
  public var notes: [String] {
    get {
      (details[Self.notesKey] ?? "").split(separator: "\n").map(String.init)
    }
    set {
      details[Self.notesKey] =
        newValue.isEmpty
        ? nil : newValue.map { $0.replacing("\n", with: " ") }.joined(separator: "\n")
    }
  }
}
