import Foundation
import PostgresFormat

/// A kept, named moment of a branch. While the row is there and not deleted, its line's history up
/// to the LSN is needed, whatever the window.
public struct SnapshotRecord: CatalogRecord, Hashable {
  public static let table = "snapshots"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: SnapshotID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID
  public var lineID: CatalogLineID
  public var lsn: LSN
  /// The moment's time, where it is known.
  public var moment: Date?
  public var name: String
  /// Made on request, not by a schedule.
  public var isManual: Bool
  public var expiresAt: Date?
  public var createdAt: Date
  public var deletedAt: Date?

  public init(
    id: SnapshotID, accountID: AccountID, plan: String, projectID: ProjectID, branchID: BranchID,
    lineID: CatalogLineID, lsn: LSN, moment: Date?, name: String, isManual: Bool, expiresAt: Date?,
    createdAt: Date, deletedAt: Date? = nil
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.branchID = branchID
    self.lineID = lineID
    self.lsn = lsn
    self.moment = moment
    self.name = name
    self.isManual = isManual
    self.expiresAt = expiresAt
    self.createdAt = createdAt
    self.deletedAt = deletedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, lsn, moment, name
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case lineID = "line_id"
    case isManual = "is_manual"
    case expiresAt = "expires_at"
    case createdAt = "created_at"
    case deletedAt = "deleted_at"
  }
}
