import PostgresFormat

/// What is promised of a line. A line without a demand is *unknown*: all of it is kept, because whoever
/// made it may not be known here yet.
public struct LineDemand: Hashable, Sendable {
  /// Moments of a branch's window.
  public enum Window: Hashable, Sendable {
    /// All that the line and its ancestors hold.
    case everything
    /// From the moment at this time on; the head always is promised.
    case since(PostgresTimestamp)
    /// From this position on.
    case from(LSN)
  }

  /// Of the branch that points to the line; `nil` where none does: then only ``moments`` and what other
  /// lines need is kept, and a line that nobody needs goes entirely.
  public var window: Window?
  /// Positions on the line or on an ancestor's part of it: snapshots, and leases that have not expired.
  public var moments: [LSN]

  /// Sessions that read at a moment for as long as they like, from what they chose when they began.
  public var readings: [Reading]
  /// Whether the window goes on into the line's ancestors; otherwise it begins where the line does.
  public var inheritsWindow: Bool

  public struct Reading: Hashable, Sendable {
    public var lsn: LSN
    public var since: PostgresTimestamp
    public init(lsn: LSN, since: PostgresTimestamp) {
      self.lsn = lsn
      self.since = since
    }
  }

  /// What a line descends from, as the catalog has it.
  public enum Ancestry: Hashable, Sendable {
    case unknown
    /// No line that has a demand.
    case root
    /// This line, or one of its ancestors.
    case line(LineID)
  }

  /// Asked where the line's own description cannot be read.
  public var ancestry: Ancestry

  public init(
    window: Window?, moments: [LSN] = [], readings: [Reading] = [], inheritsWindow: Bool = true,
    ancestry: Ancestry = .unknown
  ) {
    self.window = window
    self.moments = moments
    self.readings = readings
    self.inheritsWindow = inheritsWindow
    self.ancestry = ancestry
  }

  /// Whether nothing of the line is needed for itself.
  var isEmpty: Bool { window == nil && moments.isEmpty && readings.isEmpty }
}
