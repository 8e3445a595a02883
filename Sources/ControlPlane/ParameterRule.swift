import Foundation

/// What a PostgreSQL setting that users may set takes; the ranges are those of `pg_settings` in
/// PostgreSQL 15, or narrower where the server would not start in the memory of a compute.
enum ParameterRule {
  /// Whole numbers of a unit (`ms`, `kB`, `8kB` or none), each with PostgreSQL's larger units.
  case integer(ClosedRange<Int>, unit: Unit)
  case real(ClosedRange<Double>)
  case zone

  enum Unit { case none, milliseconds, kilobytes, pages }

  static let all: [String: ParameterRule] = [
    "autovacuum_analyze_scale_factor": .real(0...100),
    "autovacuum_vacuum_scale_factor": .real(0...100),
    "deadlock_timeout": .integer(1...Int(Int32.max), unit: .milliseconds),
    "default_statistics_target": .integer(1...10_000, unit: .none),
    "effective_cache_size": .integer(1...Int(Int32.max), unit: .pages),
    "effective_io_concurrency": .integer(0...1000, unit: .none),
    "idle_in_transaction_session_timeout": .integer(0...Int(Int32.max), unit: .milliseconds),
    "lock_timeout": .integer(0...Int(Int32.max), unit: .milliseconds),
    "log_min_duration_statement": .integer(-1...Int(Int32.max), unit: .milliseconds),
    "maintenance_work_mem": .integer(1024...Int(Int32.max), unit: .kilobytes),
    "max_connections": .integer(ConnectionLimit.least...10_000, unit: .none),
    "max_parallel_workers_per_gather": .integer(0...1024, unit: .none),
    "random_page_cost": .real(0...1e300),
    "statement_timeout": .integer(0...Int(Int32.max), unit: .milliseconds),
    "temp_buffers": .integer(100...Int(Int32.max) / 2, unit: .pages),
    "timezone": .zone,
    "work_mem": .integer(64...Int(Int32.max), unit: .kilobytes),
  ]

  /// What is allowed, where `value` is not; `nil` where it is.
  func refusal(of value: String) -> String? {
    switch self {
    case .integer(let range, let unit):
      if let number = unit.number(value), range.contains(number) { return nil }
      return "\(range.lowerBound) to \(range.upperBound)\(unit.words)"
    case .real(let range):
      if let number = Double(value), range.contains(number) { return nil }
      return "a number from \(range.lowerBound) to \(range.upperBound)"
    case .zone:
      let isName = value.utf8.allSatisfy {
        (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
          || "/_+-".utf8.contains($0)
      }
      let isKnown =
        isName && !value.isEmpty && !value.hasPrefix("/") && Self.isZone(value)
      return isKnown ? nil : "the name of a time zone, such as UTC or Europe/Berlin"
    }
  }
}

extension ParameterRule.Unit {
  var words: String {
    switch self {
    case .none: ""
    case .milliseconds: " milliseconds, or with us, ms, s, min, h or d"
    case .kilobytes: " kilobytes, or with kB, MB, GB or TB"
    case .pages: " blocks of 8 kB, or with kB, MB, GB or TB"
    }
  }

  /// The value in this unit, as `parse_int` (`guc.c`) reads whole numbers; fractions are not taken.
  func number(_ text: String) -> Int? {
    let trimmed = text.drop { $0 == " " }
    let digits = trimmed.prefix { $0.isNumber || $0 == "-" }
    guard let number = Int(digits) else { return nil }
    let name = trimmed[digits.endIndex...].trimming { $0 == " " }
    if name.isEmpty { return number }
    // A number below zero is a word of its own ("off"), without a unit.
    guard number >= 0, let (factor, divisor) = factors[name] else { return nil }
    let (product, overflows) = number.multipliedReportingOverflow(by: factor)
    return overflows ? nil : product / divisor
  }

  private var factors: [String: (Int, Int)] {
    switch self {
    case .none: [:]
    case .milliseconds:
      [
        "us": (1, 1000), "ms": (1, 1), "s": (1000, 1), "min": (60_000, 1), "h": (3_600_000, 1),
        "d": (86_400_000, 1),
      ]
    case .kilobytes:
      ["B": (1, 1024), "kB": (1, 1), "MB": (1 << 10, 1), "GB": (1 << 20, 1), "TB": (1 << 30, 1)]
    case .pages:
      ["kB": (1, 8), "MB": (128, 1), "GB": (1 << 17, 1), "TB": (1 << 27, 1)]
    }
  }
}

extension Substring {
  fileprivate func trimming(_ isTrimmed: (Character) -> Bool) -> String {
    var text = drop(while: isTrimmed)
    while let last = text.last, isTrimmed(last) { text.removeLast() }
    return String(text)
  }
}

extension ParameterRule {
  /// The system's own list, which Debian's PostgreSQL reads as well.
  private static func isZone(_ name: String) -> Bool { TimeZone(identifier: name) != nil }
}
