extension EncryptedObjectStore {
  /// Lists by plain names.
  ///
  /// Where a directory holds numbers only, their order below is theirs here, and the store below is
  /// asked for just the page. Else all of the directory is listed, opened and sorted, once for a
  /// walk through its pages.
  public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    let names = try await ring.names()
    let directory = prefix.lastIndex(of: "/").map { String(prefix[..<$0]) } ?? ""
    let base = directory.isEmpty ? "" : names.encode(directory) + "/"
    return try await naming(prefix) {
      if let after, let rest = takeWalk(prefix, after) {
        return keepWalk(rest, prefix, limit)
      }
      if !directory.isEmpty,
        let page = try await numbers(directory, base, prefix, after, limit)
      {
        return page
      }
      var found: [ObjectListing] = []
      try await self.base.listAll(prefix: base) { listing in
        guard let name = names.decode(listing.key.name), name.hasPrefix(prefix) else { return }
        let key = ObjectKey(name)
        if let after, key <= after { return }
        found.append(
          ObjectListing(key: key, size: EncryptedObjectStore.plainSize(listing.size)))
      }
      return keepWalk(found.sorted { $0.key < $1.key }, prefix, limit)
    }
  }

  /// A page of a directory of numbers; `nil` where it may hold something else.
  private func numbers(
    _ directory: String, _ base: String, _ prefix: String, _ after: ObjectKey?, _ limit: Int
  ) async throws -> [ObjectListing]? {
    let inside = directory + "/"
    var start: ObjectKey?
    if let after {
      if after.name.hasPrefix(inside) {
        let rest = after.name.dropFirst(inside.utf8.count)
        guard !rest.contains("/") else { return nil }
        start = ObjectKey(base + rest)
      } else if inside.utf8.lexicographicallyPrecedes(after.name.utf8) {
        return []
      }
    }
    let rest = prefix.dropFirst(inside.utf8.count)
    // Hidden names begin with `-`, before any number: the first one tells whether there are any.
    async let first = self.base.list(prefix: base, after: nil, limit: 1)
    let page = try await self.base.list(prefix: base + rest, after: start, limit: limit)
    if let found = try await first.first, found.key.name.dropFirst(base.utf8.count).hasPrefix("-") {
      return nil
    }
    var result: [ObjectListing] = []
    for listing in page {
      let name = listing.key.name.dropFirst(base.utf8.count)
      guard OpaqueNames.isNumber(name) else { return nil }
      result.append(
        ObjectListing(
          key: ObjectKey(inside + name),
          size: EncryptedObjectStore.plainSize(listing.size)))
    }
    return result
  }

  private static let walkLimit = 4

  /// What is left of a walk that had come to `after`.
  private func takeWalk(_ prefix: String, _ after: ObjectKey) -> [ObjectListing]? {
    walks.withLock { $0.removeValue(forKey: "\(prefix) \(after.name)") }
  }

  private func keepWalk(
    _ found: [ObjectListing], _ prefix: String, _ limit: Int
  ) -> [ObjectListing] {
    let page = Array(found.prefix(limit))
    if let last = page.last, found.count > limit, limit > 1 {
      walks.withLock {
        if $0.count >= EncryptedObjectStore.walkLimit { $0.removeAll() }
        $0["\(prefix) \(last.key.name)"] = Array(found.dropFirst(limit))
      }
    }
    return page
  }

  public func directories(in prefix: String) async throws -> [String] {
    precondition(prefix.isEmpty || prefix.hasSuffix("/"), "'\(prefix)' is no directory")
    let names = try await ring.names()
    let base = prefix.isEmpty ? "" : names.encode(String(prefix.dropLast())) + "/"
    return try await naming(prefix) {
      try await self.base.directories(in: base).compactMap { names.decode($0, in: prefix) }
        .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
  }

  public func forget(_ key: ObjectKey) {
    close(key)
    // Without the names nothing of the object can have been kept.
    Task { [base] in if let stored = try? await self.stored(key) { base.forget(stored) } }
  }
}
