import ObjectStorage

/// A store in front of another one: what a test's store does not do in its own way the other one does.
public protocol WrappingObjectStore: ObjectStore {
  associatedtype Base: ObjectStore
  var base: Base { get }
}

extension WrappingObjectStore {
  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    try await base.get(key, range: range)
  }
  public func size(_ key: ObjectKey) async throws -> UInt64? { try await base.size(key) }
  public func list(
    prefix: String, after: ObjectKey?, limit: Int
  ) async throws -> [ObjectListing] {
    try await base.list(prefix: prefix, after: after, limit: limit)
  }
  public func delete(_ key: ObjectKey) async throws { try await base.delete(key) }
  public func localFile(_ key: ObjectKey) -> String? { base.localFile(key) }
}
