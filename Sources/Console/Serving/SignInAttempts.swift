import Foundation
import Synchronization

/// Counts wrong keys by address: ``limit`` within a minute, then that address waits.
///
/// *Invariant*: at most ``mostAddresses``; when it is full, all start anew.
final class SignInAttempts: Sendable {
  private static let limit = 20
  private static let mostAddresses = 10_000
  private let failures = Mutex<[String: [Date]]>([:])

  func admits(_ address: String, at now: Date) -> Bool {
    failures.withLock { failures in
      (failures[address] ?? []).count { now.timeIntervalSince($0) < 60 } < Self.limit
    }
  }

  func note(_ address: String, at now: Date) {
    failures.withLock { failures in
      if failures.count >= Self.mostAddresses { failures = [:] }
      let recent = (failures[address] ?? []).filter { now.timeIntervalSince($0) < 60 }
      failures[address] = recent + [now]
    }
  }
}
