import Foundation
import Synchronization

/// What is in the way now, of each of several subjects, and since when without a break.
///
/// In memory: to a new process everything begins anew.
final class Troubles: Sendable {
  struct Trouble: Sendable, Hashable {
    /// As last heard.
    var reason: String
    var since: Date
  }

  private let state = Mutex<[String: Trouble]>([:])

  subscript(subject: String) -> Trouble? { state.withLock { $0[subject] } }

  /// - Parameter reason: `nil` where nothing is in the way any more.
  func note(_ reason: String?, of subject: String, at now: Date) {
    state.withLock { troubles in
      let since = troubles[subject]?.since ?? now
      troubles[subject] = reason.map { Trouble(reason: $0, since: since) }
    }
  }

  /// Forgets all but these.
  func keep(_ subjects: Set<String>) {
    state.withLock { $0 = $0.filter { subjects.contains($0.key) } }
  }
}
