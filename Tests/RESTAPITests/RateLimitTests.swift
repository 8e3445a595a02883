import Foundation
import Testing

@testable import RESTAPI

@Suite(.serialized) struct RateLimitTests {
  private static let start = Date(timeIntervalSince1970: 1_795_428_000)

  @Test func aMinutesWorthAtOnceThenAsItComesBack() {
    let limiter = RateLimiter(perMinute: 700)
    for _ in 0..<700 { #expect(limiter.delay("a", at: Self.start) == nil) }
    #expect(limiter.delay("a", at: Self.start) == 1)
    #expect(limiter.delay("b", at: Self.start) == nil)
    // 700 a minute are 11.67 a second.
    var allowed = 0
    for _ in 0..<100 where limiter.delay("a", at: Self.start + 1) == nil { allowed += 1 }
    #expect(allowed == 11)
    allowed = 0
    for step in 0..<6000 where limiter.delay("a", at: Self.start + 1 + Double(step) / 100) == nil {
      allowed += 1
    }
    #expect((699...701).contains(allowed))
  }

  @Test func waitsAreLongEnoughAndClocksMayJump() throws {
    let limiter = RateLimiter(perMinute: 1)
    #expect(limiter.delay("a", at: Self.start) == nil)
    let seconds = try #require(limiter.delay("a", at: Self.start + 10))
    #expect(seconds == 50)
    #expect(limiter.delay("a", at: Self.start + 10 + Double(seconds)) == nil)
    #expect(limiter.delay("a", at: Self.start - 1000) != nil)
    #expect(limiter.delay("a", at: Self.start - 940) == nil)
    #expect(RateLimiter(perMinute: 0).delay("a", at: Self.start) == nil)
  }

  @Test func callersAreBounded() {
    let limiter = RateLimiter(perMinute: 2)
    for number in 0..<(RateLimiter.maximumCallers + 50) {
      #expect(limiter.delay("caller \(number)", at: Self.start) == nil)
    }
  }

  @Test func tooManyRequestsAreToldWhenToComeBack() async throws {
    try await APIInstallation.with(requestsPerMinute: 5) { api in
      for _ in 0..<5 { #expect(try await api.send("GET", "/api/v2/regions").status == 200) }
      let refused = try await api.send("GET", "/api/v2/regions")
      #expect(refused.status == 429)
      #expect(refused.code == "rate_limited")
      let seconds = try #require((refused.headers["Retry-After"] as? String).flatMap { Int($0) })
      #expect((1...12).contains(seconds))
      for path in ["/healthz", "/metrics"] {
        #expect(try await api.send("GET", path).status == 200)
      }
      // Wrong keys are counted by address.
      for _ in 0..<5 { #expect(try await api.send("GET", "/api/v2/auth", key: "x").status == 401) }
      #expect(try await api.send("GET", "/api/v2/auth", key: "x").status == 429)
    }
  }
}
