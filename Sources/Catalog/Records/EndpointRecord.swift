import APITypes
import Foundation

/// The address that clients connect to.
public struct EndpointRecord: CatalogRecord, Hashable {
  public static let table = "endpoints"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: EndpointID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID
  public var name: String?
  public var type: API.EndpointType
  public var computeUnitsMinimum: Double
  public var computeUnitsMaximum: Double
  /// 0 is the default, -1 is never.
  public var suspendTimeoutSeconds: Int
  public var settings: API.EndpointSettings
  public var isDisabled: Bool
  public var state: API.EndpointState
  public var pendingState: API.EndpointState?
  public var lastActiveAt: Date?
  public var startedAt: Date?
  public var suspendedAt: Date?
  public var createdAt: Date
  public var updatedAt: Date
  public var deletedAt: Date?

  public init(
    id: EndpointID, accountID: AccountID, plan: String, projectID: ProjectID, branchID: BranchID,
    name: String? = nil, type: API.EndpointType, computeUnitsMinimum: Double,
    computeUnitsMaximum: Double, suspendTimeoutSeconds: Int, settings: API.EndpointSettings,
    isDisabled: Bool, state: API.EndpointState, pendingState: API.EndpointState? = nil,
    lastActiveAt: Date? = nil, startedAt: Date? = nil, suspendedAt: Date? = nil, createdAt: Date,
    updatedAt: Date, deletedAt: Date? = nil
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.branchID = branchID
    self.name = name
    self.type = type
    self.computeUnitsMinimum = computeUnitsMinimum
    self.computeUnitsMaximum = computeUnitsMaximum
    self.suspendTimeoutSeconds = suspendTimeoutSeconds
    self.settings = settings
    self.isDisabled = isDisabled
    self.state = state
    self.pendingState = pendingState
    self.lastActiveAt = lastActiveAt
    self.startedAt = startedAt
    self.suspendedAt = suspendedAt
    self.createdAt = createdAt
    self.updatedAt = updatedAt
    self.deletedAt = deletedAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, name, type, settings, state
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case computeUnitsMinimum = "compute_units_minimum"
    case computeUnitsMaximum = "compute_units_maximum"
    case suspendTimeoutSeconds = "suspend_timeout_seconds"
    case isDisabled = "is_disabled"
    case pendingState = "pending_state"
    case lastActiveAt = "last_active_at"
    case startedAt = "started_at"
    case suspendedAt = "suspended_at"
    case createdAt = "created_at"
    case updatedAt = "updated_at"
    case deletedAt = "deleted_at"
  }
}

/// The compute of a branch's line, which an endpoint may lead to; where it runs, if it runs.
public struct ComputeRecord: CatalogRecord, Hashable {
  public static let table = "computes"
  public static let key = ["id"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  public var id: ComputeID
  public var accountID: AccountID
  public var plan: String
  public var projectID: ProjectID
  public var branchID: BranchID
  /// Absent where the branch has no endpoint: its volume waits for one.
  public var endpointID: EndpointID?
  public var lineID: CatalogLineID
  /// Absent while suspended.
  public var socketDirectory: String?
  public var port: Int?
  public var pid: Int?
  public var startedAt: Date?
  public var createdAt: Date

  public init(
    id: ComputeID, accountID: AccountID, plan: String, projectID: ProjectID, branchID: BranchID,
    endpointID: EndpointID?, lineID: CatalogLineID, socketDirectory: String? = nil,
    port: Int? = nil,
    pid: Int? = nil, startedAt: Date? = nil, createdAt: Date
  ) {
    self.id = id
    self.accountID = accountID
    self.plan = plan
    self.projectID = projectID
    self.branchID = branchID
    self.endpointID = endpointID
    self.lineID = lineID
    self.socketDirectory = socketDirectory
    self.port = port
    self.pid = pid
    self.startedAt = startedAt
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case id, plan, port, pid
    case accountID = "account_id"
    case projectID = "project_id"
    case branchID = "branch_id"
    case endpointID = "endpoint_id"
    case lineID = "line_id"
    case socketDirectory = "socket_directory"
    case startedAt = "started_at"
    case createdAt = "created_at"
  }
}
