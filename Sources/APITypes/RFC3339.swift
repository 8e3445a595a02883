import Foundation

/// RFC 3339 date-times, the only form in which the API reads and writes times.
///
/// Written in UTC with `Z`, whole seconds without a fraction, else six digits (PostgreSQL's
/// resolution).
public enum RFC3339 {
  /// The text of `date`, rounded to a microsecond. Years 0001 to 9999; others are clamped to that
  /// range.
  public static func text(_ date: Date) -> String {
    let range = (-62_135_596_800_000_000.0)...(253_402_300_799_999_999.0)
    let exact = (date.timeIntervalSince1970 * 1_000_000).rounded()
    let microseconds = Int(min(max(exact, range.lowerBound), range.upperBound))
    let seconds = floorDivide(microseconds, 1_000_000)
    let days = floorDivide(seconds, 86_400)
    let time = seconds - days * 86_400
    let (year, month, day) = civil(days)
    let fraction = microseconds - seconds * 1_000_000
    let base =
      pad(year, 4) + "-" + pad(month, 2) + "-" + pad(day, 2) + "T" + pad(time / 3600, 2) + ":"
      + pad(time / 60 % 60, 2) + ":" + pad(time % 60, 2)
    return fraction == 0 ? base + "Z" : base + "." + pad(fraction, 6) + "Z"
  }

  /// Parses `YYYY-MM-DDThh:mm[:ss[.fraction]]` and `Z` or `±hh:mm`; `nil` for anything else.
  ///
  /// `t`, `z` and a blank instead of `T` are accepted, as RFC 3339 allows; a leap second counts as
  /// the next second.
  public static func date(_ text: String) -> Date? {
    var scanner = Scanner(bytes: Array(text.utf8))
    guard let year = scanner.digits(4), scanner.take("-"), let month = scanner.digits(2),
      scanner.take("-"), let day = scanner.digits(2), scanner.take("T", "t", " "),
      let hour = scanner.digits(2), scanner.take(":"), let minute = scanner.digits(2),
      year >= 1, (1...12).contains(month), (1...monthLength(year, month)).contains(day),
      hour < 24, minute < 60
    else { return nil }
    var second = 0
    var fraction = 0.0
    if scanner.take(":") {
      guard let value = scanner.digits(2), value <= 60 else { return nil }
      second = value
      if scanner.take(".") {
        guard let value = scanner.fraction() else { return nil }
        fraction = value
      }
    }
    guard let offset = scanner.offset(), scanner.atEnd else { return nil }
    let whole = daysSinceEpoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    return Date(timeIntervalSince1970: Double(whole - offset) + fraction)
  }

  private static func pad(_ value: Int, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  private static func floorDivide(_ a: Int, _ b: Int) -> Int {
    a >= 0 ? a / b : -((-a + b - 1) / b)
  }

  private static func monthLength(_ year: Int, _ month: Int) -> Int {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    return [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
  }

  /// Days from 1970-01-01 in the proleptic Gregorian calendar, by counting from 1 March of year 0.
  private static func daysSinceEpoch(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let shifted = month > 2 ? year : year - 1
    let era = floorDivide(shifted, 400)
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  /// The inverse of ``daysSinceEpoch(_:_:_:)``.
  private static func civil(_ days: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = days + 719_468
    let era = floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }

  private struct Scanner {
    let bytes: [UInt8]
    var position = 0
    var atEnd: Bool { position == bytes.count }

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func take(_ characters: Unicode.Scalar...) -> Bool {
      guard position < bytes.count,
        characters.contains(where: { UInt8(ascii: $0) == bytes[position] })
      else { return false }
      position += 1
      return true
    }

    mutating func digits(_ count: Int) -> Int? {
      guard bytes.count - position >= count else { return nil }
      var value = 0
      for byte in bytes[position..<position + count] {
        guard (48...57).contains(byte) else { return nil }
        value = value * 10 + Int(byte - 48)
      }
      position += count
      return value
    }

    /// One to eighteen digits after the point; more are read and ignored.
    mutating func fraction() -> Double? {
      var value = 0.0
      var unit = 0.1
      let start = position
      while position < bytes.count, (48...57).contains(bytes[position]) {
        value += Double(bytes[position] - 48) * unit
        unit /= 10
        position += 1
      }
      return position > start ? (value * 1_000_000).rounded() / 1_000_000 : nil
    }

    /// Seconds east of UTC.
    mutating func offset() -> Int? {
      if take("Z", "z") { return 0 }
      let sign = take("+") ? 1 : take("-") ? -1 : 0
      guard sign != 0, let hours = digits(2), take(":"), let minutes = digits(2), hours < 24,
        minutes < 60
      else { return nil }
      return sign * (hours * 3600 + minutes * 60)
    }
  }
}
