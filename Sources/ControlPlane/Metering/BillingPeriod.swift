import APITypes
import Catalog
import Crypto
import Foundation

/// A calendar month in UTC: what counters are reset by and what is billed.
struct BillingPeriod: Sendable, Hashable {
  let start: Date
  let end: Date

  init(holding date: Date) {
    start = CalendarUTC.start(of: .monthly, holding: date)
    end = CalendarUTC.next(.monthly, after: start)
  }

  var previous: BillingPeriod { BillingPeriod(holding: start.addingTimeInterval(-1)) }
  var hours: Int { Int(end.timeIntervalSince(start) / 3600) }

  /// The same for the same account and month: a UUID of version 8 (RFC 9562) made of their hash.
  func id(of account: AccountID) -> String {
    let text = "period \(account) \(RFC3339.text(start))"
    var bytes = Array(SHA256.hash(data: Array(text.utf8)).prefix(16))
    bytes[6] = bytes[6] & 0x0f | 0x80
    bytes[8] = bytes[8] & 0x3f | 0x80
    let hex = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    return [(0, 8), (8, 4), (12, 4), (16, 4), (20, 12)].map { start, count in
      String(hex.dropFirst(start).prefix(count))
    }.joined(separator: "-")
  }
}

/// Hours, days and months of UTC. `Calendar` is not used: it costs more than the sums it is for.
enum CalendarUTC {
  static func start(of granularity: UsageGranularity, holding date: Date) -> Date {
    switch granularity {
    case .hourly: floor(date, 3600)
    case .daily: floor(date, 86_400)
    case .monthly: month(RFC3339.text(date))
    }
  }

  /// The start of the span after the one that starts at `start`.
  static func next(_ granularity: UsageGranularity, after start: Date) -> Date {
    switch granularity {
    case .hourly: start.addingTimeInterval(3600)
    case .daily: start.addingTimeInterval(86_400)
    case .monthly: month(RFC3339.text(start.addingTimeInterval(32 * 86_400)))
    }
  }

  /// `date` where it starts a span, else the next start.
  static func ceiling(_ granularity: UsageGranularity, _ date: Date) -> Date {
    let start = start(of: granularity, holding: date)
    return start == date ? date : next(granularity, after: start)
  }

  private static func floor(_ date: Date, _ seconds: Double) -> Date {
    Date(timeIntervalSince1970: (date.timeIntervalSince1970 / seconds).rounded(.down) * seconds)
  }

  private static func month(_ text: String) -> Date {
    guard let date = RFC3339.date("\(text.prefix(7))-01T00:00:00Z") else {
      preconditionFailure("RFC3339 writes what it reads")
    }
    return date
  }
}
