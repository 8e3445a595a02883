import DurableIO

/// What every store can do with the calls that it must have.
extension ObjectStore {
  public func delete(_ keys: [ObjectKey]) async throws {
    for key in keys { try await delete(key) }
  }

  public func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice {
    guard let size = try await size(key) else {
      throw ObjectStorageError(.notFound, operation: "get object", key: key.name)
    }
    let found = range.clamped(to: 0..<size)
    return ObjectSlice(
      bytes: found.isEmpty ? [] : try await get(key, range: found), objectSize: size)
  }

  public func read(
    _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let range = offset..<offset + UInt64(buffer.count)
    let bytes = try waitFor { try await self.get(key, range: range) }
    guard bytes.count == buffer.count else {
      throw ObjectStorageError(
        .unavailable, operation: "get object", key: key.name,
        detail: "\(bytes.count) of \(buffer.count) bytes at \(offset)")
    }
    if !bytes.isEmpty { buffer.copyBytes(from: bytes) }
  }

  public func directories(in prefix: String) async throws -> [String] {
    precondition(prefix.isEmpty || prefix.hasSuffix("/"), "'\(prefix)' is no directory")
    var found: [String] = []
    var after: ObjectKey?
    while let next = try await list(prefix: prefix, after: after, limit: 1).first {
      let rest = next.key.name.dropFirst(prefix.count)
      guard let slash = rest.firstIndex(of: "/") else {
        after = next.key
        continue
      }
      let name = String(rest[..<slash])
      found.append(name)
      after = ObjectKey(prefix + name + "0")  // `0` is the byte after `/`
    }
    // Met in the order of `name/`, which is not that of the names.
    return found.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  public func forget(_ key: ObjectKey) {}
  public func distrust(_ key: ObjectKey) { forget(key) }

  /// Everything below a prefix, asked for a thousand at a time, in order.
  package func listAll(
    prefix: String, after: ObjectKey? = nil,
    _ take: (ObjectListing) throws -> Void
  ) async throws {
    var after = after
    while true {
      let page = try await list(prefix: prefix, after: after, limit: 1000)
      guard let last = page.last else { return }
      for listing in page { try take(listing) }
      after = last.key
    }
  }
}
