import Synchronization

/// How many failed logins are borne before the next attempt is refused unheard.
public struct FailureLimits: Sendable {
  /// Failures at once, and then one more in each interval.
  public var burst: Int
  public var interval: Duration

  public init(burst: Int, interval: Duration) {
    precondition(burst > 0 && interval > .zero)
    self.burst = burst
    self.interval = interval
  }

  public static let perSource = FailureLimits(burst: 30, interval: .seconds(5))
  public static let perEndpoint = FailureLimits(burst: 200, interval: .seconds(1))
}

/// Counts failed logins by source address and by endpoint.
///
/// A full endpoint stays open to sources that have logged in there before, so that a stranger's
/// failures do not shut its users out. Endpoints are counted by the name the client gave, existing
/// or
/// not, so that refusals tell nothing.
///
/// *Invariant*: each table holds at most ``maximumEntries``.
final class FailureLimiter: Sendable {
  static let maximumEntries = 50_000

  private struct Login: Hashable {
    var source: String
    var endpoint: String
  }

  private struct State {
    var sources: [String: LeakyBucket] = [:]
    var endpoints: [String: LeakyBucket] = [:]
    var known: Set<Login> = []
  }

  private let state = Mutex(State())
  private let source: FailureLimits
  private let endpoint: FailureLimits
  private let now: @Sendable () -> Duration

  /// - Parameter now: time since any fixed moment; never goes back.
  init(
    source: FailureLimits, endpoint: FailureLimits, now: @escaping @Sendable () -> Duration
  ) {
    self.source = source
    self.endpoint = endpoint
    self.now = now
  }

  /// How long this attempt must wait; nil when it may go on.
  func delay(source name: String, endpoint target: String) -> Duration? {
    let now = now()
    return state.withLock { state in
      let bySource = self.source.delay(state.sources[name], now: now)
      let isKnown = state.known.contains(Login(source: name, endpoint: target))
      let byEndpoint = isKnown ? nil : self.endpoint.delay(state.endpoints[target], now: now)
      return [bySource, byEndpoint].compactMap { $0 }.max()
    }
  }

  /// Entries of all tables.
  var entryCount: Int {
    state.withLock { $0.sources.count + $0.endpoints.count + $0.known.count }
  }

  func recordFailure(source name: String, endpoint target: String?) {
    let now = now()
    state.withLock { state in
      self.source.add(name, to: &state.sources, now: now)
      if let target { self.endpoint.add(target, to: &state.endpoints, now: now) }
    }
  }

  func recordSuccess(source name: String, endpoint target: String) {
    state.withLock { state in
      if state.known.count >= Self.maximumEntries { state.known.removeFirst() }
      state.known.insert(Login(source: name, endpoint: target))
    }
  }
}

/// A bucket that leaks one failure in each interval.
private struct LeakyBucket {
  var level: Double
  var updated: Duration
}

extension FailureLimits {
  private func level(_ bucket: LeakyBucket?, now: Duration) -> Double {
    guard let bucket else { return 0 }
    return max(0, bucket.level - (now - bucket.updated) / interval)
  }

  fileprivate func delay(_ bucket: LeakyBucket?, now: Duration) -> Duration? {
    let excess = level(bucket, now: now) - Double(burst - 1)
    return excess > 0 ? interval * excess : nil
  }

  fileprivate func add(
    _ name: String, to buckets: inout [String: LeakyBucket], now: Duration
  ) {
    if buckets.count >= FailureLimiter.maximumEntries, buckets[name] == nil {
      buckets = buckets.filter { level($0.value, now: now) > 0 }
      if buckets.count >= FailureLimiter.maximumEntries, let victim = buckets.keys.first {
        buckets[victim] = nil
      }
    }
    let raised = level(buckets[name], now: now) + 1
    buckets[name] = LeakyBucket(level: min(raised, Double(burst) * 2), updated: now)
  }
}
