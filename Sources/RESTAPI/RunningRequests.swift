import Catalog
import Synchronization

/// Requests with an `Idempotency-Key` that this process is at work on: whoever repeats one waits for its end, however
/// long it takes.
final class RunningRequests: Sendable {
  private let hashes = Mutex<[[String]: SealedBytes]>([:])

  /// `nil` where the claim is the caller's from now on; else the body's hash of the request that is under way.
  func begin(_ claim: IdempotencyRecord) -> SealedBytes? {
    hashes.withLock { hashes in
      let key = Self.key(of: claim)
      if let first = hashes[key] { return first }
      hashes[key] = claim.bodyHash
      return nil
    }
  }

  func end(_ claim: IdempotencyRecord) {
    hashes.withLock { $0[Self.key(of: claim)] = nil }
  }

  private static func key(of claim: IdempotencyRecord) -> [String] {
    [claim.accountID.rawValue, claim.method, claim.path, claim.key]
  }
}
