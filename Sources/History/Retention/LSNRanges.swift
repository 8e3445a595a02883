import PostgresFormat

/// A set of positions, as ranges that neither touch nor overlap, in order.
struct LSNRanges: Hashable, Sendable {
  private(set) var ranges: [Range<LSN>] = []

  init() {}
  init(_ ranges: [Range<LSN>]) { for range in ranges { insert(range) } }

  var isEmpty: Bool { ranges.isEmpty }

  mutating func insert(_ range: Range<LSN>) {
    if range.isEmpty { return }
    let first = ranges.partitionPoint { $0.upperBound < range.lowerBound }
    var last = first
    var merged = range
    while last < ranges.count, ranges[last].lowerBound <= range.upperBound {
      merged =
        min(
          merged.lowerBound, ranges[last].lowerBound)..<max(
          merged.upperBound, ranges[last].upperBound)
      last += 1
    }
    ranges.replaceSubrange(first..<last, with: [merged])
  }

  /// Whether all of the range is in the set.
  func contains(_ range: Range<LSN>) -> Bool {
    if range.isEmpty { return true }
    let index = ranges.partitionPoint { $0.upperBound <= range.lowerBound }
    return index < ranges.count && ranges[index].lowerBound <= range.lowerBound
      && range.upperBound <= ranges[index].upperBound
  }

  func overlaps(_ range: Range<LSN>) -> Bool {
    if range.isEmpty { return false }
    let index = ranges.partitionPoint { $0.upperBound <= range.lowerBound }
    return index < ranges.count && ranges[index].lowerBound < range.upperBound
  }
}

extension Array {
  /// The index of the first element for which `isBefore` is false; those for which it is true come first.
  func partitionPoint(_ isBefore: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
