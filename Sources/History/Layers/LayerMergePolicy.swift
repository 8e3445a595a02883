/// Which layers of a stack to merge, from their sizes alone.
///
/// Keeps each layer at least `ratio` times as large as everything newer that was merged with it.
/// A byte is then rewritten O(log n) times over n layers. The ratio is 2, or larger where a stack
/// with ratio 2 would be deeper than the limit (a large base under tiny layers).
struct LayerMergePolicy: Sendable {
  /// Layers that a stack may have after the policy has been followed.
  var limit: Int

  /// How many of the newest layers to merge into one; `nil` where nothing is to be done.
  /// - Parameter sizes: newest first.
  func plan(_ sizes: [UInt64]) -> Int? {
    if sizes.count < 2 { return nil }
    var ratio: UInt64 = 2
    while true {
      let count = run(sizes, ratio: ratio)
      if sizes.count - count + 1 <= limit { return count > 1 ? count : nil }
      ratio *= 2
      // Past this every layer is within the ratio of any other.
      if ratio > 1 << 40 { return sizes.count - limit + 1 }
    }
  }

  /// How many of the newest layers are within the ratio of those before them.
  private func run(_ sizes: [UInt64], ratio: UInt64) -> Int {
    var sum = sizes[0]
    var count = 1
    for size in sizes.dropFirst() {
      if size / ratio >= sum { break }
      sum += size
      count += 1
    }
    return count
  }
}
