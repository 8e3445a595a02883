import Foundation
import PostgresFormat

/// What was used in some span of time.
public struct UsageTotals: Sendable, Hashable {
  /// Time in which a compute ran.
  public var activeMilliseconds = 0
  /// The same, times the compute's size in compute units.
  public var computeMilliseconds = 0
  /// WAL that a compute wrote.
  public var writtenBytes = 0
  /// Protocol bytes sent to clients.
  public var transferBytes = 0
  /// Sizes of databases summed over the hours at whose end they were kept.
  public var logicalByteHours = 0
  /// Bytes in the object store, summed likewise.
  public var historyByteHours = 0
  /// What branches are charged for, likewise: a root its databases, a child what it changed, at most its databases.
  public var branchByteHours = 0
  /// History beyond that, likewise.
  public var restoreByteHours = 0
  /// Dumps in the object store, likewise.
  public var dumpByteHours = 0
  /// The last known sizes.
  public var logicalBytes: Int?
  public var historyBytes: Int?

  public init() {}

  public var activeSeconds: Int { activeMilliseconds / 1000 }
  public var computeSeconds: Int { computeMilliseconds / 1000 }

  public static func += (a: inout UsageTotals, b: UsageTotals) {
    a.activeMilliseconds += b.activeMilliseconds
    a.computeMilliseconds += b.computeMilliseconds
    a.writtenBytes += b.writtenBytes
    a.transferBytes += b.transferBytes
    a.logicalByteHours += b.logicalByteHours
    a.historyByteHours += b.historyByteHours
    a.branchByteHours += b.branchByteHours
    a.restoreByteHours += b.restoreByteHours
    a.dumpByteHours += b.dumpByteHours
    a.logicalBytes = sum(a.logicalBytes, b.logicalBytes)
    a.historyBytes = sum(a.historyBytes, b.historyBytes)
  }

  private static func sum(_ a: Int?, _ b: Int?) -> Int? {
    guard let a, let b else { return a ?? b }
    return a + b
  }
}

/// One branch's use in one hour, day or month.
public struct UsageFrame: Sendable, Hashable {
  public var projectID: ProjectID
  public var branchID: BranchID
  /// Whether the branch has no parent.
  public var isRoot: Bool
  public var start: Date
  public var totals: UsageTotals
}

/// Spans over which use is summed; UTC.
public enum UsageGranularity: String, Sendable, CaseIterable {
  case hourly, daily, monthly

  /// `date_trunc`'s word.
  var unit: String {
    switch self {
    case .hourly: "hour"
    case .daily: "day"
    case .monthly: "month"
    }
  }
}

/// What was counted of one endpoint since the batch before.
public struct TransferIncrement: Sendable, Hashable {
  /// Empty where no endpoint served it.
  public var endpoint: EndpointID
  /// Whose bytes these are where no endpoint served them.
  public var branch: BranchID?
  public var kind: String
  public var bytes: Int

  public init(endpoint: EndpointID, branch: BranchID? = nil, kind: String, bytes: Int) {
    self.endpoint = endpoint
    self.branch = branch
    self.kind = kind
    self.bytes = bytes
  }
}

/// Where counting of one compute stands: what lies before it is counted, once.
public struct UsageMarkRecord: CatalogRecord, Hashable {
  public static let table = "usage_marks"
  public static let key = ["subject"]
  public static let columns = CodingKeys.allCases.map(\.rawValue)

  /// A compute's id for time, a line's for written bytes.
  public var subject: String
  public var projectID: ProjectID
  public var countedUntil: Date?
  public var position: LSN?
  public var createdAt: Date

  public init(
    subject: String, projectID: ProjectID, countedUntil: Date? = nil, position: LSN? = nil,
    createdAt: Date
  ) {
    self.subject = subject
    self.projectID = projectID
    self.countedUntil = countedUntil
    self.position = position
    self.createdAt = createdAt
  }

  enum CodingKeys: String, CodingKey, CaseIterable {
    case subject, position
    case projectID = "project_id"
    case countedUntil = "counted_until"
    case createdAt = "created_at"
  }
}
