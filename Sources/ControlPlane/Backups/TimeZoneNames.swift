import Foundation

/// The names of the IANA time zone database.
///
/// Foundation's own list lacks those that were renamed or merged (`Asia/Kolkata`, `US/Eastern`, `Etc/UTC`), and
/// `TimeZone(identifier:)` knows more than the database has: offsets such as `GMT+0530`, and abbreviations, each of
/// which means several things (`IST`). So the machine's copy of the database is asked, too; without one,
/// Foundation's list is all.
struct TimeZoneNames: Sendable {
  /// Where the compiled database lies.
  var directory = "/usr/share/zoneinfo"

  /// What each file of the database begins with (RFC 9636, 3.1).
  private static let magic = Data("TZif".utf8)
  /// Trees of the same zones counted otherwise, and names that mean another zone on every machine.
  private static let others: Set<Substring> = ["posix", "right", "localtime", "posixrules"]
  private static let longestName = 64

  /// The zone of a name, written as the database writes it; `nil` where it has none.
  func zone(_ name: String) -> TimeZone? {
    guard has(name) else { return nil }
    return TimeZone(identifier: name)
  }

  private func has(_ name: String) -> Bool {
    if name == "UTC" || TimeZone.knownTimeZoneIdentifiers.contains(name) { return true }
    guard Self.isPlain(name) else { return false }
    // A directory, or nothing at all, has no such beginning.
    guard let file = FileHandle(forReadingAtPath: "\(directory)/\(name)") else { return false }
    defer { try? file.close() }  // it was only read
    return (try? file.read(upToCount: Self.magic.count)) == Self.magic  // a directory throws
  }

  /// Letters, digits, `_`, `+`, `-`, parted by single slashes: no name of the database has anything else, and no path
  /// out of it can be written so.
  private static func isPlain(_ name: String) -> Bool {
    guard name.utf8.count <= longestName else { return false }
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    guard let first = parts.first, !others.contains(first) else { return false }
    return parts.allSatisfy { part in
      !part.isEmpty
        && part.utf8.allSatisfy { byte in
          switch byte {
          case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
          default: "_+-".utf8.contains(byte)
          }
        }
    }
  }
}
