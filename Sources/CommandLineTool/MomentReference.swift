import APITypes
import Foundation

/// A branch and perhaps a moment of it, as commands take them: `main`, `main@0/1A2B3C`,
/// `main@2026-11-23T10:00:00Z`, and `^self`, `^parent` for the branch that a command is about. What is behind the
/// last `@` is the moment; `head` is one, so that a name which has an `@` can be written: `a@b@head`.
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
    let at = text.lastIndex(of: "@")
    branch = String(text[..<(at ?? text.endIndex)])
    guard !branch.isEmpty else { throw CommandError("'\(text)' names no branch") }
    moment = try at.map { try Self.moment(String(text[text.index(after: $0)...]), of: text) } ?? nil
  }

  private static func moment(_ text: String, of whole: String) throws -> Moment? {
    if text == "head" { return nil }
    if let lsn = lsn(text) { return .lsn(lsn) }
    if let date = RFC3339.date(text) { return .timestamp(date) }
    throw CommandError(
      "'\(text)' is neither an LSN nor a time",
      hint: "Write it as 0/1A2B3C or 2026-11-23T10:00:00Z; a branch whose name is '\(whole)' is "
        + "'\(whole)@head' here.")
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
