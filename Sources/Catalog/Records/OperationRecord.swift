import APITypes
import Foundation

/// Durable work of the control plane.
public struct OperationRecord: CatalogRecord, Hashable {
  public static let table = "operations"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// A UUID.
  public var id: OperationID
  /// Order of creation; 0 lets the catalog choose.
  public var position: Int
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID?
  public var endpointID: EndpointID?
  public var action: API.OperationAction
  public var kind: String
  public var status: API.OperationStatus
  public var stepsDone: Int
  /// Keys that no other unfinished operation may hold.
  public var locks: [String]
  /// Operations that must finish first.
  public var waitsFor: [OperationID]
  public var details: [String: String]
  public var error: String?
  public var failuresCount: Int
  public var retryAt: Date?
  public var claimedBy: String?
  public var createdAt: Date
  public var updatedAt: Date
  public var startedAt: Date?
  public var finishedAt: Date?

  public init(
    id: OperationID, position: Int, accountID: AccountID, plan: String, projectID: ProjectID,
    branchID: BranchID? = nil, endpointID: EndpointID? = nil, action: API.OperationAction,
    kind: String, status: API.OperationStatus, stepsDone: Int, locks: [String],
    waitsFor: [OperationID], details: [String: String], error: String? = nil, failuresCount: Int,
    retryAt: Date? = nil, claimedBy: String? = nil, createdAt: Date, updatedAt: Date,
    startedAt: Date? = nil, finishedAt: Date? = nil
  ) {
    self.id = id
    self.position = position
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.branchID = branchID
    self.endpointID = endpointID
    self.action = action
    self.kind = kind
    self.status = status
    self.stepsDone = stepsDone
    self.locks = locks
    self.waitsFor = waitsFor
    self.details = details
    self.error = error
    self.failuresCount = failuresCount
    self.retryAt = retryAt
    self.claimedBy = claimedBy
    self.createdAt = createdAt
    self.updatedAt = updatedAt
    self.startedAt = startedAt
    self.finishedAt = finishedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, position, plan, action, kind, status, locks, details, error
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case endpointID = "endpoint_id"
    case stepsDone = "steps_done"
    case waitsFor = "waits_for"
    case failuresCount = "failures_count"
    case retryAt = "retry_at"
    case claimedBy = "claimed_by"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
    case startedAt = "started_at"
    case finishedAt = "finished_at"
  }
}
