/// A position in a write-ahead log: a byte offset since the log's beginning.
///
/// Printed as PostgreSQL prints it (`0/1A2B3C`); accepted in any case and padding.
/// Source: `XLogRecPtr` in `access/xlogdefs.h`, `pg_lsn_in` in `utils/adt/pg_lsn.c`.
public struct LSN: RawRepresentable, Hashable, Comparable, Sendable {
  public var rawValue: UInt64

  public init(rawValue: UInt64) { self.rawValue = rawValue }
  public init(_ rawValue: UInt64) { self.rawValue = rawValue }

  /// The LSN that PostgreSQL calls invalid: no record starts here.
  public static let invalid = LSN(rawValue: 0)

  public static func < (a: LSN, b: LSN) -> Bool { a.rawValue < b.rawValue }

  /// The LSN `bytes` after `position`; traps on overflow as integer addition does.
  public static func + (position: LSN, bytes: UInt64) -> LSN {
    LSN(rawValue: position.rawValue + bytes)
  }

  /// The number of bytes from `start` to `end`; `end` must not lie before `start`.
  public static func - (end: LSN, start: LSN) -> UInt64 { end.rawValue - start.rawValue }
}

extension LSN: CustomStringConvertible, LosslessStringConvertible {
  public var description: String {
    let high = String(rawValue >> 32, radix: 16, uppercase: true)
    return high + "/" + String(rawValue & 0xFFFF_FFFF, radix: 16, uppercase: true)
  }

  /// Parses `X/Y`, hexadecimal digits of 32 bits on each side, zeros before them included, and nothing else.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2,
      parts.allSatisfy({ !$0.isEmpty && $0.allSatisfy(\.isHexDigit) }),
      let high = UInt32(parts[0], radix: 16), let low = UInt32(parts[1], radix: 16)
    else { return nil }
    rawValue = UInt64(high) << 32 | UInt64(low)
  }
}

extension LSN: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let value = LSN(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "not an LSN: '\(text)'")
    }
    self = value
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// PostgreSQL's timeline id (TLI), and nothing else.
public struct TimelineID: RawRepresentable, Hashable, Comparable, Codable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public init(_ rawValue: UInt32) { self.rawValue = rawValue }
  public static func < (a: TimelineID, b: TimelineID) -> Bool { a.rawValue < b.rawValue }
}
