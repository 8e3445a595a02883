import Synchronization
import Testing

@testable import PostgresProxy

@Suite struct LimitTests {
  private final class Clock: Sendable {
    let time = Mutex(Duration.zero)
    func advance(_ step: Duration) { time.withLock { $0 += step } }
  }

  private func limiter(_ clock: Clock) -> FailureLimiter {
    FailureLimiter(
      source: FailureLimits(burst: 3, interval: .seconds(10)),
      endpoint: FailureLimits(burst: 5, interval: .seconds(1)),
      now: { clock.time.withLock { $0 } })
  }

  @Test func sourceWaitsAfterItsBurstAndIsHeardAgain() throws {
    let clock = Clock()
    let limiter = limiter(clock)
    for _ in 0..<3 {
      #expect(limiter.delay(source: "a", endpoint: "e") == nil)
      limiter.recordFailure(source: "a", endpoint: "e")
    }
    let delay = try #require(limiter.delay(source: "a", endpoint: "e"))
    #expect(delay == .seconds(10))
    #expect(limiter.delay(source: "b", endpoint: "e") == nil)
    clock.advance(delay)
    #expect(limiter.delay(source: "a", endpoint: "e") == nil)
  }

  @Test func endpointUnderAttackStaysOpenToItsUsers() {
    let limiter = limiter(Clock())
    limiter.recordSuccess(source: "user", endpoint: "e")
    for index in 0..<5 { limiter.recordFailure(source: "\(index)", endpoint: "e") }
    #expect(limiter.delay(source: "new", endpoint: "e") != nil)
    #expect(limiter.delay(source: "user", endpoint: "e") == nil)
    #expect(limiter.delay(source: "new", endpoint: "other") == nil)
  }

  @Test func tablesStayBounded() {
    let limiter = limiter(Clock())
    for index in 0..<(FailureLimiter.maximumEntries + 10) {
      limiter.recordFailure(source: "\(index)", endpoint: nil)
      limiter.recordSuccess(source: "\(index)", endpoint: "e")
    }
    #expect(limiter.entryCount <= 2 * FailureLimiter.maximumEntries)
  }

  @Test func cancelKeysDifferAndEnd() {
    let keys = CancelKeys()
    let target = CancelKeys.Target(
      key: CancelKey(processID: 1, secret: 2), socketPath: "/a")
    let (first, second) = (keys.issue(for: target), keys.issue(for: target))
    #expect(first != second)
    #expect(first.processID > 0)
    #expect(keys.target(of: first) == target)
    keys.revoke(first)
    #expect(keys.target(of: first) == nil)
    #expect(keys.count == 1)
  }
}
