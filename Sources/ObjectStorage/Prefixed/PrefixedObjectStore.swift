/// A part of a store that is a store of its own: everything below one directory.
public final class PrefixedObjectStore: ObjectStore {
  private let base: any ObjectStore
  private let prefix: String

  /// - Parameter directory: its name, without a slash at its end.
  public init(_ base: any ObjectStore, directory: String) {
    precondition(ObjectKey.isValid(directory), "malformed directory '\(directory)'")
    self.base = base
    prefix = directory + "/"
  }

  private func stored(_ key: ObjectKey) -> ObjectKey { ObjectKey(prefix + key.name) }

  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    try await base.put(stored(key), body)
  }
  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    try await base.get(stored(key), range: range)
  }
  public func size(_ key: ObjectKey) async throws -> UInt64? { try await base.size(stored(key)) }
  public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    try await base.list(prefix: self.prefix + prefix, after: after.map(stored), limit: limit).map {
      ObjectListing(key: ObjectKey(String($0.key.name.dropFirst(self.prefix.count))), size: $0.size)
    }
  }
  public func delete(_ key: ObjectKey) async throws { try await base.delete(stored(key)) }
  public func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys.map(stored)) }
  public func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice {
    try await base.slice(stored(key), range)
  }
  public func read(
    _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    try base.read(stored(key), at: offset, into: buffer)
  }
  public func directories(in prefix: String) async throws -> [String] {
    try await base.directories(in: self.prefix + prefix)
  }
  public func forget(_ key: ObjectKey) { base.forget(stored(key)) }
  public func distrust(_ key: ObjectKey) { base.distrust(stored(key)) }
  public func localFile(_ key: ObjectKey) -> String? { base.localFile(stored(key)) }
}
