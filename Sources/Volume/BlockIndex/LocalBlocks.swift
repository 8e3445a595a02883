/// Which blocks of one file of a branch's volume come from its backing file rather than from the
/// base view.
struct LocalBlocks: Equatable {
  /// Blocks at or above this never come from the base.
  var floor = UInt32.max
  /// One bit a block below `floor`; short where no later block is local.
  var bits: [UInt64] = []

  func contains(_ block: UInt32) -> Bool {
    let word = Int(block / 64)
    return word < bits.count && bits[word] & (1 << UInt64(block % 64)) != 0
  }

  /// Whether a block must be asked from the base view.
  func isInBase(_ block: UInt32) -> Bool { block < floor && !contains(block) }

  mutating func insert(_ block: UInt32) {
    let word = Int(block / 64)
    if word >= bits.count { bits += Array(repeating: 0, count: word + 1 - bits.count) }
    bits[word] |= 1 << UInt64(block % 64)
  }

  mutating func cut(at block: UInt32) {
    floor = min(floor, block)
    let words = Int((floor + 63) / 64)
    if words < bits.count { bits.removeLast(bits.count - words) }
  }
}
