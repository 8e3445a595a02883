import ObjectStorage
import Synchronization

/// A store whose calls fail when a test says so.
public final class FaultyObjectStore: ObjectStore {
  public enum Operation: String, Sendable { case put, get, size, list, delete }

  /// How a call fails.
  public enum Fault: Sendable {
    /// Nothing happens, and the call throws.
    case before
    /// The call takes effect, and throws nevertheless: its answer was lost.
    case after
  }

  /// One call, as a rule sees it.
  public struct Call: Sendable {
    public var operation: Operation
    /// The key, or a listing's prefix.
    public var key: String
    /// 1 for the first call of all, and so on.
    public var number: Int
    /// 1 for the first call of its operation.
    public var numberOfOperation: Int
  }

  public typealias Rule = @Sendable (Call) -> Fault?

  public let base: any ObjectStore
  private let hidesLocalFiles: Bool
  private let state: Mutex<State>

  private struct State {
    var rule: Rule?
    var calls: [Call] = []
    var counts: [Operation: Int] = [:]
  }

  /// - Parameter hidesLocalFiles: answers as a store without local files does.
  public init(_ base: any ObjectStore, hidesLocalFiles: Bool = false, rule: Rule? = nil) {
    self.base = base
    self.hidesLocalFiles = hidesLocalFiles
    state = Mutex(State(rule: rule))
  }

  public func setRule(_ rule: Rule?) { state.withLock { $0.rule = rule } }

  /// All calls so far, failed ones included.
  public var calls: [Call] { state.withLock { $0.calls } }

  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    try await perform(.put, key.name) { try await base.put(key, body) }
  }

  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    try await perform(.get, key.name) { try await base.get(key, range: range) }
  }

  public func size(_ key: ObjectKey) async throws -> UInt64? {
    try await perform(.size, key.name) { try await base.size(key) }
  }

  public func list(
    prefix: String, after: ObjectKey?, limit: Int
  ) async throws -> [ObjectListing] {
    try await perform(.list, prefix) {
      try await base.list(prefix: prefix, after: after, limit: limit)
    }
  }

  public func delete(_ key: ObjectKey) async throws {
    try await perform(.delete, key.name) { try await base.delete(key) }
  }

  public func localFile(_ key: ObjectKey) -> String? {
    hidesLocalFiles ? nil : base.localFile(key)
  }

  private func perform<Value: Sendable>(
    _ operation: Operation, _ key: String, _ body: () async throws -> Value
  ) async throws -> Value {
    let fault = state.withLock { state -> Fault? in
      state.counts[operation, default: 0] += 1
      let call = Call(
        operation: operation, key: key, number: state.calls.count + 1,
        numberOfOperation: state.counts[operation, default: 0])
      state.calls.append(call)
      return state.rule?(call)
    }
    if fault == .before { throw failure(operation, key) }
    let value = try await body()
    if fault == .after { throw failure(operation, key) }
    return value
  }

  private func failure(_ operation: Operation, _ key: String) -> ObjectStorageError {
    ObjectStorageError(
      .unavailable, operation: "\(operation.rawValue) object", key: key, detail: "fault injected")
  }
}
