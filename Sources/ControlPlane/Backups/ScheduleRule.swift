import APITypes
import Foundation

/// When a backup is due: a frequency and, in a time zone, hour, day and month.
///
/// A local time that a clock change leaves out is due at the first instant after the gap; one that
/// comes twice is due the first time. A day past the month's end is its last day.
struct ScheduleRule: Sendable, Hashable {
  var frequency: API.BackupFrequency
  var hour: Int
  /// Weekly 1 to 7, Monday is 1; monthly and yearly 1 to 31.
  var day: Int
  var month: Int
  var timeZone: TimeZone

  /// The first time after `date` at which a run is due.
  func next(after date: Date) -> Date {
    guard frequency != .hourly else { return nextHour(after: date) }
    let today = CivilDate(localDate(date))
    // Two periods on: whatever today is, a due time after `date` lies among these.
    let days = candidates(from: today)
    return days.lazy.map(instant).first { $0 > date } ?? date.addingTimeInterval(86_400)
  }

  private func localDate(_ date: Date) -> Int {
    let seconds = Int(date.timeIntervalSince1970.rounded(.down))
    return CivilDate.floorDivide(seconds + timeZone.secondsFromGMT(for: date), 86_400)
  }

  /// The next full hour of local time. Where the clock is put back, the hour that comes twice is
  /// due twice: an hourly backup is one an hour.
  private func nextHour(after date: Date) -> Date {
    let offset = timeZone.secondsFromGMT(for: date)
    let local = Int(date.timeIntervalSince1970.rounded(.down)) + offset
    let due = (CivilDate.floorDivide(local, 3600) + 1) * 3600 - offset
    return Date(timeIntervalSince1970: Double(due))
  }

  /// Days on which a run may be due, in order, from yesterday on.
  private func candidates(from today: CivilDate) -> [CivilDate] {
    switch frequency {
    case .hourly: return []
    case .daily: return (-1...2).map { CivilDate(today.number + $0) }
    case .weekly:
      let shift = (day - today.weekday + 7) % 7
      return [-7, 0, 7].map { CivilDate(today.number + shift + $0) }
    case .monthly:
      return (-1...2).map { offset in
        let months = today.year * 12 + today.month - 1 + offset
        return CivilDate(
          year: CivilDate.floorDivide(months, 12),
          month: months - CivilDate.floorDivide(months, 12) * 12 + 1, clampedDay: day)
      }
    case .yearly:
      return (-1...2).map { CivilDate(year: today.year + $0, month: month, clampedDay: day) }
    }
  }

  /// The instant of the hour on a local day.
  private func instant(on date: CivilDate) -> Date {
    let local = date.number * 86_400 + hour * 3600
    func offset(_ seconds: Int) -> Int {
      timeZone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(seconds)))
    }
    // What was in force the day before and will be the day after: no zone changes twice in between.
    let before = offset(local - 86_400 - offset(local - 86_400))
    let after = offset(local + 86_400 - offset(local + 86_400))
    let early = local - max(before, after)
    let late = local - min(before, after)
    for instant in [early, late] where instant + offset(instant) == local {
      return Date(timeIntervalSince1970: Double(instant))
    }
    return firstInstant(from: early, to: late, at: before, offset)
  }

  /// The first instant at which the offset is no longer `before`, by bisection.
  private func firstInstant(
    from start: Int, to end: Int, at before: Int, _ offset: (Int) -> Int
  ) -> Date {
    var (low, high) = (start - 86_400, end + 86_400)
    while high - low > 1 {
      let middle = (low + high) / 2
      if offset(middle) == before { low = middle } else { high = middle }
    }
    return Date(timeIntervalSince1970: Double(high))
  }
}

/// A day of the proleptic Gregorian calendar. H. Hinnant's `days_from_civil`, for years that
/// computers have.
struct CivilDate: Hashable {
  /// Days since 1970-01-01.
  var number: Int
  var year: Int
  var month: Int

  init(_ number: Int) {
    self.number = number
    let shifted = number + 719_468
    let era = Self.floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let index = (5 * dayOfYear + 2) / 153
    month = index < 10 ? index + 3 : index - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }

  /// - Parameter clampedDay: past the month's end it is the last day.
  init(year: Int, month: Int, clampedDay: Int) {
    let first = Self.days(year, month)
    let next = month == 12 ? Self.days(year + 1, 1) : Self.days(year, month + 1)
    self.init(first + min(clampedDay, next - first) - 1)
  }

  /// Monday is 1. 1970-01-01 was a Thursday.
  var weekday: Int { (number % 7 + 7 + 3) % 7 + 1 }

  /// The number of a month's first day.
  private static func days(_ year: Int, _ month: Int) -> Int {
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = floorDivide(shiftedYear, 400)
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  static func floorDivide(_ a: Int, _ b: Int) -> Int { a >= 0 ? a / b : -((-a + b - 1) / b) }
}
