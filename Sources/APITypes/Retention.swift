import Foundation

extension API {
  /// A project's retention window; a route of ours.
  public struct RetentionStatus: Codable, Hashable, Sendable {
    /// What was asked for last.
    public var historyRetentionSeconds: Int
    /// What is in force: longer while a shrinking is pending.
    public var effectiveSeconds: Int
    /// The oldest moment that is promised.
    public var earliestTimestamp: Date
    public var pending: PendingRetention?
    /// What the length asked about takes away; absent where that is nothing.
    public var cost: RetentionCost?

    public init(
      historyRetentionSeconds: Int, effectiveSeconds: Int, earliestTimestamp: Date,
      pending: PendingRetention? = nil, cost: RetentionCost? = nil
    ) {
      self.historyRetentionSeconds = historyRetentionSeconds
      self.effectiveSeconds = effectiveSeconds
      self.earliestTimestamp = earliestTimestamp
      self.pending = pending
      self.cost = cost
    }

    enum CodingKeys: String, CodingKey {
      case pending, cost
      case historyRetentionSeconds = "history_retention_seconds"
      case effectiveSeconds = "effective_seconds"
      case earliestTimestamp = "earliest_timestamp"
    }
  }

  /// A shrinking that can still be cancelled.
  public struct PendingRetention: Codable, Hashable, Sendable {
    public var historyRetentionSeconds: Int
    public var previousSeconds: Int
    public var requestedAt: Date
    public var effectiveAt: Date

    public init(
      historyRetentionSeconds: Int, previousSeconds: Int, requestedAt: Date, effectiveAt: Date
    ) {
      self.historyRetentionSeconds = historyRetentionSeconds
      self.previousSeconds = previousSeconds
      self.requestedAt = requestedAt
      self.effectiveAt = effectiveAt
    }

    enum CodingKeys: String, CodingKey {
      case historyRetentionSeconds = "history_retention_seconds"
      case previousSeconds = "previous_seconds"
      case requestedAt = "requested_at"
      case effectiveAt = "effective_at"
    }
  }

  /// Moments `[from, to)` that would go. Bytes and commits are absent where the history does not
  /// tell them.
  public struct RetentionCost: Codable, Hashable, Sendable {
    public var from: Date
    public var to: Date
    public var bytes: Int?
    public var commits: Int?

    public init(from: Date, to: Date, bytes: Int? = nil, commits: Int? = nil) {
      self.from = from
      self.to = to
      self.bytes = bytes
      self.commits = commits
    }
  }

  /// The body of `PUT /projects/{project_id}/retention`.
  public struct RetentionUpdateRequest: Codable, Hashable, Sendable {
    public var historyRetentionSeconds: Int
    /// Needed where moments would go.
    public var confirm: Bool?

    public init(historyRetentionSeconds: Int, confirm: Bool? = nil) {
      self.historyRetentionSeconds = historyRetentionSeconds
      self.confirm = confirm
    }

    enum CodingKeys: String, CodingKey {
      case confirm
      case historyRetentionSeconds = "history_retention_seconds"
    }
  }
}
