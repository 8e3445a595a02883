import APITypes
import Foundation

/// A branch and perhaps a moment of it, as commands take them: `main`, `main@0/1A2B3C`,
/// `main@2026-11-23T10:00:00Z`, and `^self`, `^parent` for the branch that a command is about.
public struct MomentReference: Sendable, Equatable {
  public enum Moment: Sendable, Equatable {
    case lsn(String)
    case timestamp(Date)
  }

  /// Name or id.
  public var branch: String
  public var moment: Moment?

  /// - Throws: ``CommandError`` for an empty branch or a moment that is neither LSN nor time.
  public init(_ text: String) throws {
    let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    branch = String(parts[0])
    guard !branch.isEmpty else { throw CommandError("'\(text)' names no branch") }
    moment = parts.count > 1 ? try Self.moment(String(parts[1])) : nil
  }

  private static func moment(_ text: String) throws -> Moment {
    if let lsn = lsn(text) { return .lsn(lsn) }
    if let date = RFC3339.date(text) { return .timestamp(date) }
    throw CommandError(
      "'\(text)' is neither an LSN nor a time",
      hint: "Write it as 0/1A2B3C or 2026-11-23T10:00:00Z.")
  }

  /// As PostgreSQL prints it, from any case and padding; nil when it is none.
  private static func lsn(_ text: String) -> String? {
    let halves = text.split(separator: "/", omittingEmptySubsequences: false)
    guard halves.count == 2, let high = half(halves[0]), let low = half(halves[1]) else {
      return nil
    }
    return "\(String(high, radix: 16, uppercase: true))/\(String(low, radix: 16, uppercase: true))"
  }

  private static func half(_ text: Substring) -> UInt32? {
    guard text.allSatisfy(\.isHexDigit) else { return nil }
    return UInt32(text, radix: 16)
  }
}
