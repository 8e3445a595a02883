/// An immutable history: a parent line and LSN, then its own keyframes and WAL.
public struct LineID: RawRepresentable, Hashable, Comparable, Codable, Sendable,
  CustomStringConvertible
{
  /// `ln-` and 16 characters of `[0-9a-z]`.
  public let rawValue: String
  public init(rawValue: String) { self.rawValue = rawValue }
  public static func < (a: LineID, b: LineID) -> Bool { a.rawValue < b.rawValue }
  public var description: String { rawValue }

  /// A new identity; each call of `random` gives 64 random bits.
  public init(random: () -> UInt64) {
    let digits = Array("0123456789abcdefghijklmnopqrstuvwxyz")
    rawValue = "ln-" + String((0..<16).map { _ in digits[Int(random() % 36)] })
  }

  /// Whether a text from outside has the form of an identity.
  public static func isValid(_ text: String) -> Bool {
    text.utf8.count == 19 && text.hasPrefix("ln-")
      && text.dropFirst(3).utf8.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
      }
  }
}
