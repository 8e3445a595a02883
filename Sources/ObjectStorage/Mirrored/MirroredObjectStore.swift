import DurableIO
import Synchronization

/// A store with a copy of it elsewhere: what the one cannot give is read from the other.
///
/// ## Purpose
/// A damaged or unreachable bucket does not stop a branch from being opened.
///
/// ## State and invariants
/// 1. Everything is put into the first store, and listed there: the copy lags behind, and a listing
///    of it could hide a line's newest owner.
/// 2. Objects are immutable, so an object of the copy is the object.
/// 3. Damage is seen by whoever reads, who ``distrust(_:)``s the object: it is read from the copy from then on.
///
/// ## Not guarded here
/// Filling the copy: ``ObjectMirror``.
public final class MirroredObjectStore: ObjectStore {
  private let first: any ObjectStore
  private let second: any ObjectStore
  private let distrusted = Mutex<Set<ObjectKey>>([])
  /// Of so many damaged objects the next read finds again that they are.
  private static let distrustLimit = 100_000
  private let onDamage: @Sendable (ObjectKey) -> Void

  /// - Parameter onDamage: told of each object whose first copy is distrusted, as it is named in the store.
  public init(
    _ first: any ObjectStore, second: any ObjectStore,
    onDamage: @escaping @Sendable (ObjectKey) -> Void = { _ in }
  ) {
    self.first = first
    self.second = second
    self.onDamage = onDamage
  }

  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    try await first.put(key, body)
    _ = distrusted.withLock { $0.remove(key) }
  }
  public func size(_ key: ObjectKey) async throws -> UInt64? { try await first.size(key) }
  public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    try await first.list(prefix: prefix, after: after, limit: limit)
  }
  public func directories(in prefix: String) async throws -> [String] {
    try await first.directories(in: prefix)
  }
  public func delete(_ key: ObjectKey) async throws { try await first.delete(key) }
  public func delete(_ keys: [ObjectKey]) async throws { try await first.delete(keys) }
  public func localFile(_ key: ObjectKey) -> String? { first.localFile(key) }
  public func forget(_ key: ObjectKey) { first.forget(key) }

  public func distrust(_ key: ObjectKey) {
    first.distrust(key)
    let isNew = distrusted.withLock { keys in
      if keys.count >= Self.distrustLimit { keys = [] }
      return keys.insert(key).inserted
    }
    if isNew { onDamage(key) }
  }

  /// What the copy has of an object whose first one is damaged; `nil` where that is not so, or it has nothing.
  private func trusted<Value>(_ key: ObjectKey, _ read: () async throws -> Value) async -> Value? {
    guard distrusted.withLock({ $0.contains(key) }) else { return nil }
    // The first one's answer or error is what counts then.
    return try? await read()
  }

  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    if let found = await trusted(key, { try await second.get(key, range: range) }) { return found }
    do {
      return try await first.get(key, range: range)
    } catch let error as ObjectStorageError where MirroredObjectStore.mayBeElsewhere(error) {
      return try await fallingBack(error) { try await self.second.get(key, range: range) }
    }
  }

  public func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice {
    if let found = await trusted(key, { try await second.slice(key, range) }) { return found }
    do {
      return try await first.slice(key, range)
    } catch let error as ObjectStorageError where MirroredObjectStore.mayBeElsewhere(error) {
      return try await fallingBack(error) { try await self.second.slice(key, range) }
    }
  }

  public func read(
    _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    if distrusted.withLock({ $0.contains(key) }),
      (try? second.read(key, at: offset, into: buffer)) != nil
    {
      return
    }
    do {
      try first.read(key, at: offset, into: buffer)
    } catch let failure as ObjectStorageError where MirroredObjectStore.mayBeElsewhere(failure) {
      do {
        try second.read(key, at: offset, into: buffer)
      } catch let other as ObjectStorageError {
        throw other.code == .notFound ? failure : combined(failure, other)
      }
    }
  }

  private static func mayBeElsewhere(_ error: ObjectStorageError) -> Bool {
    switch error.code {
    case .notFound, .unavailable, .damaged, .denied, .outOfRange, .misconfigured: true
    case .noSpace, .unknownKey: false
    }
  }

  /// - Throws: the first store's error, where the second has no answer either.
  private func fallingBack<Value>(
    _ error: ObjectStorageError, _ body: () async throws -> Value
  ) async throws -> Value {
    do { return try await body() } catch let second as ObjectStorageError {
      throw second.code == .notFound ? error : combined(error, second)
    }
  }

  private func combined(
    _ first: ObjectStorageError, _ second: ObjectStorageError
  ) -> ObjectStorageError {
    var error = first
    error.detail += error.detail.isEmpty ? "" : "; "
    error.detail += "nor from the mirror: \(second.code.rawValue) \(second.detail)"
    return error
  }
}
