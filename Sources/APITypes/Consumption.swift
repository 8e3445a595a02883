import Foundation

extension API {
  /// One hour, day or month of use, as the older routes show it.
  public struct ConsumptionFrame: Codable, Hashable, Sendable {
    public var timeframeStart: Date
    public var timeframeEnd: Date
    public var activeTimeSeconds: Int
    public var computeTimeSeconds: Int
    public var writtenDataBytes: Int
    public var syntheticStorageSizeBytes: Int
    public var dataStorageBytesHour: Int?
    public var logicalSizeBytes: Int?
    public var logicalSizeBytesHour: Int?
    /// Ours: the reference has it in the newer routes only.
    public var dataTransferBytes: Int?

    public init(
      timeframeStart: Date, timeframeEnd: Date, activeTimeSeconds: Int, computeTimeSeconds: Int,
      writtenDataBytes: Int, syntheticStorageSizeBytes: Int, dataStorageBytesHour: Int? = nil,
      logicalSizeBytes: Int? = nil, logicalSizeBytesHour: Int? = nil, dataTransferBytes: Int? = nil
    ) {
      self.timeframeStart = timeframeStart
      self.timeframeEnd = timeframeEnd
      self.activeTimeSeconds = activeTimeSeconds
      self.computeTimeSeconds = computeTimeSeconds
      self.writtenDataBytes = writtenDataBytes
      self.syntheticStorageSizeBytes = syntheticStorageSizeBytes
      self.dataStorageBytesHour = dataStorageBytesHour
      self.logicalSizeBytes = logicalSizeBytes
      self.logicalSizeBytesHour = logicalSizeBytesHour
      self.dataTransferBytes = dataTransferBytes
    }

    enum CodingKeys: String, CodingKey {
      case timeframeStart = "timeframe_start"
      case timeframeEnd = "timeframe_end"
      case activeTimeSeconds = "active_time_seconds"
      case computeTimeSeconds = "compute_time_seconds"
      case writtenDataBytes = "written_data_bytes"
      case syntheticStorageSizeBytes = "synthetic_storage_size_bytes"
      case dataStorageBytesHour = "data_storage_bytes_hour"
      case logicalSizeBytes = "logical_size_bytes"
      case logicalSizeBytesHour = "logical_size_bytes_hour"
      case dataTransferBytes = "data_transfer_bytes"
    }
  }

  public struct ConsumptionMetric: Codable, Hashable, Sendable {
    public var metricName: String
    public var value: Int

    public init(metricName: String, value: Int) {
      self.metricName = metricName
      self.value = value
    }

    enum CodingKeys: String, CodingKey {
      case value
      case metricName = "metric_name"
    }
  }

  /// One hour, day or month of use, by metric.
  public struct ConsumptionFrameV2: Codable, Hashable, Sendable {
    public var timeframeStart: Date
    public var timeframeEnd: Date
    public var metrics: [ConsumptionMetric]

    public init(timeframeStart: Date, timeframeEnd: Date, metrics: [ConsumptionMetric]) {
      self.timeframeStart = timeframeStart
      self.timeframeEnd = timeframeEnd
      self.metrics = metrics
    }

    enum CodingKeys: String, CodingKey {
      case metrics
      case timeframeStart = "timeframe_start"
      case timeframeEnd = "timeframe_end"
    }
  }

  /// The use of one billing period.
  public struct ConsumptionPeriod<Frame: Codable & Hashable & Sendable>: Codable, Hashable, Sendable
  {
    public var periodID: String
    public var periodPlan: String
    public var periodStart: Date
    /// Absent for the one that runs.
    public var periodEnd: Date?
    public var consumption: [Frame]

    public init(
      periodID: String, periodPlan: String, periodStart: Date, periodEnd: Date? = nil,
      consumption: [Frame]
    ) {
      self.periodID = periodID
      self.periodPlan = periodPlan
      self.periodStart = periodStart
      self.periodEnd = periodEnd
      self.consumption = consumption
    }

    enum CodingKeys: String, CodingKey {
      case consumption
      case periodID = "period_id"
      case periodPlan = "period_plan"
      case periodStart = "period_start"
      case periodEnd = "period_end"
    }
  }

  public struct AccountConsumption: Codable, Hashable, Sendable {
    public var periods: [ConsumptionPeriod<ConsumptionFrame>]
    public init(periods: [ConsumptionPeriod<ConsumptionFrame>]) { self.periods = periods }
  }

  public struct ProjectConsumptionHistory<Frame: Codable & Hashable & Sendable>: Codable, Hashable,
    Sendable
  {
    public var projectID: String
    public var periods: [ConsumptionPeriod<Frame>]

    public init(projectID: String, periods: [ConsumptionPeriod<Frame>]) {
      self.projectID = projectID
      self.periods = periods
    }

    enum CodingKeys: String, CodingKey {
      case periods
      case projectID = "project_id"
    }
  }

  public struct ProjectConsumptionResponse<Frame: Codable & Hashable & Sendable>: Codable, Hashable,
    Sendable
  {
    public var projects: [ProjectConsumptionHistory<Frame>]
    public var pagination: Pagination?

    public init(projects: [ProjectConsumptionHistory<Frame>], pagination: Pagination? = nil) {
      self.projects = projects
      self.pagination = pagination
    }
  }

  public struct BranchConsumptionHistory: Codable, Hashable, Sendable {
    public var projectID: String
    public var branchID: String
    public var periods: [ConsumptionPeriod<ConsumptionFrameV2>]

    public init(
      projectID: String, branchID: String, periods: [ConsumptionPeriod<ConsumptionFrameV2>]
    ) {
      self.projectID = projectID
      self.branchID = branchID
      self.periods = periods
    }

    enum CodingKeys: String, CodingKey {
      case periods
      case projectID = "project_id"
      case branchID = "branch_id"
    }
  }

  public struct BranchConsumptionResponse: Codable, Hashable, Sendable {
    public var branches: [BranchConsumptionHistory]
    public var pagination: Pagination?

    public init(branches: [BranchConsumptionHistory], pagination: Pagination? = nil) {
      self.branches = branches
      self.pagination = pagination
    }
  }

  /// A project's use of one billing period.
  public struct ProjectConsumption: Codable, Hashable, Sendable {
    public var projectID: String
    public var periodID: String
    public var dataStorageBytesHour: Int
    public var syntheticStorageSize: Int
    public var dataTransferBytes: Int
    public var writtenDataBytes: Int
    public var computeTimeSeconds: Int
    public var activeTimeSeconds: Int
    public var updatedAt: Date
    public var periodStart: Date
    /// Null for the one that runs.
    public var periodEnd: Nullable<Date>
    public var previousPeriodID: Nullable<String>

    public init(
      projectID: String, periodID: String, dataStorageBytesHour: Int, syntheticStorageSize: Int,
      dataTransferBytes: Int, writtenDataBytes: Int, computeTimeSeconds: Int,
      activeTimeSeconds: Int, updatedAt: Date, periodStart: Date, periodEnd: Date?,
      previousPeriodID: String?
    ) {
      self.projectID = projectID
      self.periodID = periodID
      self.dataStorageBytesHour = dataStorageBytesHour
      self.syntheticStorageSize = syntheticStorageSize
      self.dataTransferBytes = dataTransferBytes
      self.writtenDataBytes = writtenDataBytes
      self.computeTimeSeconds = computeTimeSeconds
      self.activeTimeSeconds = activeTimeSeconds
      self.updatedAt = updatedAt
      self.periodStart = periodStart
      self.periodEnd = Nullable(periodEnd)
      self.previousPeriodID = Nullable(previousPeriodID)
    }

    enum CodingKeys: String, CodingKey {
      case projectID = "project_id"
      case periodID = "period_id"
      case dataStorageBytesHour = "data_storage_bytes_hour"
      case syntheticStorageSize = "synthetic_storage_size"
      case dataTransferBytes = "data_transfer_bytes"
      case writtenDataBytes = "written_data_bytes"
      case computeTimeSeconds = "compute_time_seconds"
      case activeTimeSeconds = "active_time_seconds"
      case updatedAt = "updated_at"
      case periodStart = "period_start"
      case periodEnd = "period_end"
      case previousPeriodID = "previous_period_id"
    }
  }

  public struct ProjectsConsumptionResponse: Codable, Hashable, Sendable {
    public var projects: [ProjectConsumption]
    public var periodsInResponse: Int
    public var pagination: Pagination?

    public init(
      projects: [ProjectConsumption], periodsInResponse: Int, pagination: Pagination? = nil
    ) {
      self.projects = projects
      self.periodsInResponse = periodsInResponse
      self.pagination = pagination
    }

    enum CodingKeys: String, CodingKey {
      case projects, pagination
      case periodsInResponse = "periods_in_response"
    }
  }

  /// One line of an estimate: `quantity × price = amount`.
  public struct EstimateItem: Codable, Hashable, Sendable {
    public var metricName: String
    public var quantity: Double
    public var unit: String
    public var price: Double
    public var amount: Double

    public init(
      metricName: String, quantity: Double, unit: String, price: Double, amount: Double
    ) {
      self.metricName = metricName
      self.quantity = quantity
      self.unit = unit
      self.price = price
      self.amount = amount
    }

    enum CodingKeys: String, CodingKey {
      case quantity, unit, price, amount
      case metricName = "metric_name"
    }
  }

  /// What a project's use has cost so far in this period; a route of ours.
  public struct BillingEstimate: Codable, Hashable, Sendable {
    public var projectID: String
    public var plan: String
    public var periodStart: Date
    public var periodEnd: Date
    public var items: [EstimateItem]
    /// The sum of the items' amounts.
    public var total: Double

    public init(
      projectID: String, plan: String, periodStart: Date, periodEnd: Date, items: [EstimateItem],
      total: Double
    ) {
      self.projectID = projectID
      self.plan = plan
      self.periodStart = periodStart
      self.periodEnd = periodEnd
      self.items = items
      self.total = total
    }

    enum CodingKeys: String, CodingKey {
      case plan, items, total
      case projectID = "project_id"
      case periodStart = "period_start"
      case periodEnd = "period_end"
    }
  }

  /// A field that is always there and may be null.
  public struct Nullable<Value: Codable & Hashable & Sendable>: Codable, Hashable, Sendable {
    public var value: Value?

    public init(_ value: Value?) { self.value = value }

    public init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      value = container.decodeNil() ? nil : try container.decode(Value.self)
    }

    public func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      if let value { try container.encode(value) } else { try container.encodeNil() }
    }
  }
}
