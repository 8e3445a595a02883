import APITypes
import Foundation

/// How pages write numbers and times. Times are UTC here; scripts show the reader's own zone beside.
enum Format {
  /// `12.4 MB`; powers of 1000, as bills count.
  static func bytes(_ count: Int) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    var (value, unit) = (Double(count), 0)
    while abs(value) >= 999.5, unit + 1 < units.count {
      value /= 1000
      unit += 1
    }
    guard unit > 0 else { return "\(count) B" }
    return String(format: value < 9.95 ? "%.1f" : "%.0f", value) + " " + units[unit]
  }

  static func number(_ count: Int) -> String {
    var digits = String(abs(count))
    var groups: [String] = []
    while digits.count > 3 {
      groups.insert(String(digits.suffix(3)), at: 0)
      digits.removeLast(3)
    }
    return (count < 0 ? "-" : "") + ([digits] + groups).joined(separator: ",")
  }

  /// `7 days`, `3 h 20 min`, `45 s`.
  static func duration(seconds: Int) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60)
    if days > 0 {
      return days == 1 && hours == 0
        ? "1 day" : hours == 0 ? "\(days) days" : "\(days) d \(hours) h"
    }
    if hours > 0 { return minutes == 0 ? "\(hours) h" : "\(hours) h \(minutes) min" }
    return minutes > 0 ? "\(minutes) min" : "\(seconds) s"
  }

  /// `0.4 s` where seconds are few, else as ``duration(seconds:)``.
  static func lag(seconds: Double) -> String {
    seconds < 10 ? String(format: "%.1f s", seconds) : duration(seconds: Int(seconds))
  }

  /// What a template's `time` partial takes.
  static func time(_ date: Date?) -> [String: Any]? {
    guard let date else { return nil }
    let text = RFC3339.text(date)
    return ["iso": text, "text": String(text.prefix(16)).replacing("T", with: " ") + " UTC"]
  }

  /// The words of a stored name: `apply_roles_and_databases` is `Apply roles and databases`.
  static func words(_ name: String) -> String {
    let text = name.replacing("_", with: " ")
    return text.prefix(1).uppercased() + text.dropFirst()
  }

  static func money(_ amount: Double) -> String { String(format: "%.2f", amount) }
}
