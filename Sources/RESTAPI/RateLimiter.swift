import Foundation
import Synchronization

/// Counts requests of each caller: a minute's worth at once, then as many as come back in time.
///
/// A bucket for each caller holds `perMinute` requests and refills evenly.
/// *Invariant*: at most ``maximumCallers`` buckets; full ones go first.
final class RateLimiter: Sendable {
  private struct Bucket {
    var tokens: Double
    var updated: Date
  }

  static let maximumCallers = 20_000

  /// 0 sets no limit.
  let perMinute: Int
  private let buckets = Mutex<[String: Bucket]>([:])

  init(perMinute: Int) { self.perMinute = perMinute }

  /// Spends one request. `nil` when it may go on, else the whole seconds until one may.
  func delay(_ caller: String, at now: Date) -> Int? {
    guard perMinute > 0 else { return nil }
    let capacity = Double(perMinute)
    let perSecond = capacity / 60
    return buckets.withLock { buckets in
      var bucket = buckets[caller] ?? Bucket(tokens: capacity, updated: now)
      // A clock that was set back gives nothing and takes nothing.
      let elapsed = max(0, now.timeIntervalSince(bucket.updated))
      bucket.tokens = min(capacity, bucket.tokens + elapsed * perSecond)
      bucket.updated = now
      guard bucket.tokens >= 1 else {
        buckets[caller] = bucket
        return max(1, Int(((1 - bucket.tokens) / perSecond).rounded(.up)))
      }
      bucket.tokens -= 1
      if buckets[caller] == nil, buckets.count >= Self.maximumCallers {
        Self.makeRoom(&buckets, capacity, perSecond, now)
      }
      buckets[caller] = bucket
      return nil
    }
  }

  private static func makeRoom(
    _ buckets: inout [String: Bucket], _ capacity: Double, _ perSecond: Double, _ now: Date
  ) {
    buckets = buckets.filter { _, bucket in
      bucket.tokens + max(0, now.timeIntervalSince(bucket.updated)) * perSecond < capacity
    }
    if buckets.count >= maximumCallers, let victim = buckets.keys.first { buckets[victim] = nil }
  }
}

/// A request above the rate.
struct TooManyRequests: Error {
  var perMinute: Int
  var retryAfterSeconds: Int
}
