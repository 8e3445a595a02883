/// Segments that a log has done with and keeps, to write over them.
///
/// *State and invariants.* A kept segment is referred to from here alone: whoever reads one holds the object, and
/// would read what is written over it. *Concurrency.* Under the log's gate.
struct RetiredSegments {
  /// Segments of free disk without which none is kept.
  static let reserve: UInt64 = 32
  private static let limit = 16

  /// Begun by this process and not retired.
  private var live: [UInt32: LogSegment] = [:]
  private var kept: [LogSegment] = []
  private var begunSinceTrim = 0

  mutating func noteBegun(_ segment: LogSegment) {
    live[segment.number] = segment
    begunSinceTrim += 1
  }

  /// - Returns: whether the segment `number` stays here; if not, its file is to be removed.
  mutating func keep(_ number: UInt32, mayKeep: Bool) -> Bool {
    guard var segment = live.removeValue(forKey: number), mayKeep, kept.count < Self.limit,
      isKnownUniquelyReferenced(&segment)
    else { return false }
    kept.append(segment)
    return true
  }

  /// The one that was written last, which memory is likeliest to hold.
  mutating func takeNewest() -> LogSegment? { kept.popLast() }

  /// What is more than were begun since the last call, or all.
  mutating func takeSurplus(all: Bool) -> [LogSegment] {
    let surplus = kept.prefix(max(0, kept.count - (all ? 0 : begunSinceTrim)))
    kept.removeFirst(surplus.count)
    begunSinceTrim = 0
    return Array(surplus)
  }
}
