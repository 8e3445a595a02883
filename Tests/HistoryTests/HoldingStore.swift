import ObjectStorage
import Synchronization
import TestSupport

/// A store some of whose puts wait until a test lets them go.
final class HoldingStore: WrappingObjectStore {
  private struct State {
    var part = ""
    var left = 0
    var waiting: [CheckedContinuation<Void, Never>] = []
  }
  let base: MemoryObjectStore
  private let state = Mutex(State())

  init(_ base: MemoryObjectStore) { self.base = base }

  /// The next `count` puts of keys that contain `part` wait.
  func holdsPuts(of part: String, count: Int) {
    state.withLock { state in
      state.part = part
      state.left = count
    }
  }

  /// Puts that wait now.
  var held: Int { state.withLock { $0.waiting.count } }

  func release() {
    let waiting = state.withLock { state in
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }

  func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    await withCheckedContinuation { continuation in
      let waits = state.withLock { state in
        guard state.left > 0, key.name.contains(state.part) else { return false }
        state.left -= 1
        state.waiting.append(continuation)
        return true
      }
      if !waits { continuation.resume() }
    }
    try await base.put(key, body)
  }
}
