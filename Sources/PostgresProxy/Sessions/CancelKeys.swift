import Synchronization

/// The cancel keys that clients hold, and what each means.
///
/// A client never sees its compute's own key: 63 random bits made here stand for it, for as long
/// as its session lasts.
final class CancelKeys: Sendable {
  struct Target: Sendable, Equatable {
    var key: CancelKey
    var socketPath: String
  }

  private let targets = Mutex<[CancelKey: Target]>([:])

  /// Makes a new key for `target`. The process id in it is positive, as clients expect.
  func issue(for target: Target) -> CancelKey {
    targets.withLock { targets in
      var generator = SystemRandomNumberGenerator()
      while true {
        let key = CancelKey(
          processID: .random(in: 1 ... .max, using: &generator),
          secret: .random(in: .min ... .max, using: &generator))
        if targets[key] == nil {
          targets[key] = target
          return key
        }
      }
    }
  }

  func target(of key: CancelKey) -> Target? { targets.withLock { $0[key] } }

  func revoke(_ key: CancelKey) { targets.withLock { _ = $0.removeValue(forKey: key) } }

  var count: Int { targets.withLock { $0.count } }
}
