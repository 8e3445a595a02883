import ObjectStorage
import Synchronization

/// A store some of whose puts wait until a test lets them go.
final class HoldingStore: ObjectStore {
  private struct State {
    var part = ""
    var left = 0
    var waiting: [CheckedContinuation<Void, Never>] = []
  }
  private let base: any ObjectStore
  private let state = Mutex(State())

  init(_ base: any ObjectStore) { self.base = base }

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

  func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    try await base.get(key, range: range)
  }
  func size(_ key: ObjectKey) async throws -> UInt64? { try await base.size(key) }
  func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    try await base.list(prefix: prefix, after: after, limit: limit)
  }
  func delete(_ key: ObjectKey) async throws { try await base.delete(key) }
  func localFile(_ key: ObjectKey) -> String? { base.localFile(key) }
}
