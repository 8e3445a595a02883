/// An immutable history: a parent line and LSN, then its own keyframes and WAL.
public struct LineID: RawRepresentable, Hashable, Comparable, Codable, Sendable,
  CustomStringConvertible
{
  /// `ln-` and 16 characters of `[0-9a-z]`.
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  public static func < (a: LineID, b: LineID) -> Bool { a.rawValue < b.rawValue }
  public var description: String { rawValue }
}
