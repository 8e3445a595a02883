import PostgresFormat

/// A statement's parameter. SQL's NULL is Swift's `nil`.
public enum PostgresValue: Sendable, Hashable {
  /// Sent as text; the server decides the type from the statement.
  case text(String)
  /// Sent as `bytea`.
  case bytes([UInt8])

  public init(_ value: some BinaryInteger) { self = .text(String(value)) }
  public init(_ value: Bool) { self = .text(value ? "t" : "f") }
  public init(_ value: Double) { self = .text("\(value)") }
  public init(_ value: LSN) { self = .text(value.description) }
  public init(_ value: String) { self = .text(value) }
  public init(_ value: [UInt8]) { self = .bytes(value) }
}

extension PostgresValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByFloatLiteral, ExpressibleByStringInterpolation
{
  public init(stringLiteral value: String) { self = .text(value) }
  public init(integerLiteral value: Int64) { self.init(value) }
  public init(booleanLiteral value: Bool) { self.init(value) }
  public init(floatLiteral value: Double) { self.init(value) }
}

/// A Swift type that a column's text can be read as.
public protocol PostgresDecodable {
  /// `nil` where `text` is not of this type.
  static func decode(text: String) -> Self?
}

extension String: PostgresDecodable {
  public static func decode(text: String) -> String? { text }
}

extension Bool: PostgresDecodable {
  public static func decode(text: String) -> Bool? {
    switch text {
    case "t": true
    case "f": false
    default: nil
    }
  }
}

extension PostgresDecodable where Self: LosslessStringConvertible {
  public static func decode(text: String) -> Self? { Self(text) }
}

extension Int: PostgresDecodable {}
extension Int16: PostgresDecodable {}
extension Int32: PostgresDecodable {}
extension Int64: PostgresDecodable {}
extension UInt32: PostgresDecodable {}
extension UInt64: PostgresDecodable {}
extension LSN: PostgresDecodable {}

extension Double: PostgresDecodable {
  /// Also PostgreSQL's `Infinity`, `-Infinity` and `NaN`.
  public static func decode(text: String) -> Double? { Double(text) }
}

/// Reads `bytea` in the hex form (`\xDEADBEEF`) that servers send by default.
extension [UInt8]: PostgresDecodable {
  public static func decode(text: String) -> [UInt8]? {
    let digits = [UInt8](text.utf8)
    guard digits.count >= 2, digits.count % 2 == 0, digits[0] == UInt8(ascii: "\\"),
      digits[1] == UInt8(ascii: "x")
    else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(digits.count / 2 - 1)
    for index in stride(from: 2, to: digits.count, by: 2) {
      guard let high = hexValue(digits[index]), let low = hexValue(digits[index + 1]) else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    return bytes
  }
}

private func hexValue(_ digit: UInt8) -> UInt8? {
  switch digit {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
  case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
  default: nil
  }
}
