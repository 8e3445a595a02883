import ObjectStorage

/// How much the objects of a line take in the store.
struct StoredSize {
  let store: any ObjectStore

  private static let page = 1000

  /// The sum of the sizes of all objects below `lines/LINE/`.
  /// - Complexity: one listing for each thousand objects.
  func bytes(line: String) async throws -> Int {
    var sum = 0
    var last: ObjectKey?
    while true {
      let found = try await store.list(prefix: "lines/\(line)/", after: last, limit: Self.page)
      sum += found.reduce(0) { $0 + Int(clamping: $1.size) }
      guard found.count == Self.page else { return sum }
      last = found.last?.key
    }
  }
}
