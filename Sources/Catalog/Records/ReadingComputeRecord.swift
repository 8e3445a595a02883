import Foundation
import PostgresFormat

/// A compute that was opened to read one moment. The row is written before the compute is, so that
/// what a killed `serve` left behind is found and ended.
public struct ReadingComputeRecord: CatalogRecord, Hashable {
  public static let table = "reading_computes"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// Names the compute and its directory.
  public var id: String
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID
  public var lineID: CatalogLineID
  public var lsn: LSN
  public var createdAt: Date

  public init(
    id: String, accountID: AccountID, plan: String, projectID: ProjectID, branchID: BranchID,
    lineID: CatalogLineID, lsn: LSN, createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.branchID = branchID
    self.lineID = lineID
    self.lsn = lsn
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, lsn
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case lineID = "line_id"
    case createdAt = "created_at"
  }
}
