/// A moment as PostgreSQL stores it: microseconds since 2000-01-01 00:00:00 UTC.
public struct PostgresTimestamp: RawRepresentable, Hashable, Comparable, Codable, Sendable {
  public var rawValue: Int64

  public init(rawValue: Int64) { self.rawValue = rawValue }
  public init(_ rawValue: Int64) { self.rawValue = rawValue }

  /// Seconds from the Unix epoch to PostgreSQL's.
  public static let unixEpochOffsetSeconds: Int64 = 946_684_800

  /// The moment of a Unix time in microseconds; nil where it cannot be represented.
  public init?(unixMicroseconds: Int64) {
    let (value, overflow) = unixMicroseconds.subtractingReportingOverflow(
      PostgresTimestamp.unixEpochOffsetSeconds * 1_000_000)
    if overflow { return nil }
    rawValue = value
  }

  /// Microseconds since the Unix epoch, held within Int64.
  public var unixMicroseconds: Int64 {
    let (value, overflow) = rawValue.addingReportingOverflow(
      PostgresTimestamp.unixEpochOffsetSeconds * 1_000_000)
    return overflow ? .max : value
  }

  public static func < (a: PostgresTimestamp, b: PostgresTimestamp) -> Bool {
    a.rawValue < b.rawValue
  }
}
