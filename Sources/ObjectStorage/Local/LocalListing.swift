import DurableIO

/// A walk over a local store's directories in byte order of the keys.
///
/// A file `a` sorts as `a`, a directory `a` as `a/`, so that `a-b` comes between them as it does
/// among keys. Only names that can lie in the answer are looked at with `stat(2)`.
struct LocalListing {
  private let store: LocalObjectStore
  private let prefix: String
  private let after: String
  private let limit: Int
  private var found: [ObjectListing] = []

  init(store: LocalObjectStore, prefix: String, after: String, limit: Int) {
    self.store = store
    self.prefix = prefix
    self.after = after
    self.limit = limit
  }

  mutating func run() throws -> [ObjectListing] {
    // Begin in the deepest directory that the prefix names.
    let directory = prefix.lastIndex(of: "/").map { String(prefix[..<$0]) } ?? ""
    try walk(directory)
    return found
  }

  /// - Parameter directory: relative to the store, without a slash at its end; empty for the top.
  private mutating func walk(_ directory: String) throws {
    let base = "\(store.root)/objects" + (directory.isEmpty ? "" : "/" + directory)
    guard let status = try store.status(base), status.isDirectory else { return }
    let names = try store.fileSystem.list(base, operation: "list objects")
    for candidate in candidates(names, in: directory) {
      if found.count >= limit { return }
      if candidate.hasSuffix("/") {
        let key = String(candidate.dropLast())
        if try store.status("\(store.root)/objects/\(key)")?.isDirectory == true { try walk(key) }
      } else if let status = try store.status("\(store.root)/objects/\(candidate)"),
        !status.isDirectory
      {
        found.append(ObjectListing(key: ObjectKey(candidate), size: status.size))
      }
    }
  }

  /// Each name as the file and as the directory it may be, in byte order, without those that
  /// cannot lead to a key of the answer.
  private func candidates(_ names: [String], in directory: String) -> [String] {
    var result: [String] = []
    for name in names {
      let key = directory.isEmpty ? name : directory + "/" + name
      guard ObjectKey.isValid(key) else { continue }
      if key.hasPrefix(prefix), precedes(after, key) { result.append(key) }
      let inside = key + "/"
      let mayMatch = inside.hasPrefix(prefix) || prefix.hasPrefix(inside)
      if mayMatch, precedes(after, inside) || after.hasPrefix(inside) { result.append(inside) }
    }
    return result.sorted(by: precedes)
  }

  private func precedes(_ a: String, _ b: String) -> Bool {
    a.utf8.lexicographicallyPrecedes(b.utf8)
  }
}
