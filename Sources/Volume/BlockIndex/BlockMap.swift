/// Block → place in the log for one file in one epoch: open addressing, 8 bytes a slot.
///
/// A slot holds the block (24 bits) above the place (40 bits, in units of 16 bytes from the start
/// of the epoch's first
/// segment; never 0, because a segment begins with its header). At most 4/5 of the slots are used,
/// so a
/// block takes 10 to 20 bytes.
struct BlockMap {
  static let maximumBlocks: UInt64 = 1 << 24
  static let maximumPlace: UInt64 = 1 << 40

  private var slots: [UInt64] = []
  private(set) var count = 0

  /// The place of a block, 0 where it has none.
  @inline(__always)
  func place(of block: UInt32) -> UInt64 {
    guard count > 0 else { return 0 }
    return slots.withUnsafeBufferPointer { slots in
      let mask = slots.count - 1
      var at = Self.hash(block) & mask
      while slots[at] != 0 {
        if slots[at] >> 40 == UInt64(block) { return slots[at] & (Self.maximumPlace - 1) }
        at = (at + 1) & mask
      }
      return 0
    }
  }

  mutating func set(_ block: UInt32, to place: UInt64) {
    if (count + 1) * 5 > slots.count * 4 { resize(to: max(4, slots.count * 2)) }
    if insert(UInt64(block) << 40 | place) { count += 1 }
  }

  /// Forgets every block at or above `limit`.
  mutating func removeBlocks(from limit: UInt32) {
    let kept = slots.filter { $0 != 0 && $0 >> 40 < UInt64(limit) }
    guard kept.count < count else { return }
    count = kept.count
    var capacity = 4
    while kept.count * 5 > capacity * 4 { capacity *= 2 }
    slots = kept.isEmpty ? [] : Array(repeating: 0, count: capacity)
    for slot in kept { _ = insert(slot) }
  }

  /// Blocks and their places in block order.
  func sorted() -> [(block: UInt32, place: UInt64)] {
    slots.filter { $0 != 0 }.sorted()
      .map { (UInt32($0 >> 40), $0 & (Self.maximumPlace - 1)) }
  }

  /// Every block, in no order.
  func visitBlocks(_ body: (UInt32) -> Void) {
    for slot in slots where slot != 0 { body(UInt32(slot >> 40)) }
  }

  /// Bytes of memory held.
  var footprint: Int { slots.capacity * 8 }

  private mutating func resize(to capacity: Int) {
    let old = slots
    slots = Array(repeating: 0, count: capacity)
    for slot in old where slot != 0 { _ = insert(slot) }
  }

  /// Returns whether the block is new.
  private mutating func insert(_ slot: UInt64) -> Bool {
    slots.withUnsafeMutableBufferPointer { slots in
      let mask = slots.count - 1
      var at = Self.hash(UInt32(slot >> 40)) & mask
      while slots[at] != 0 {
        if slots[at] >> 40 == slot >> 40 {
          slots[at] = slot
          return false
        }
        at = (at + 1) & mask
      }
      slots[at] = slot
      return true
    }
  }

  /// Fibonacci hashing; runs of blocks spread evenly.
  @inline(__always)
  private static func hash(_ block: UInt32) -> Int {
    Int(truncatingIfNeeded: (UInt64(block) &* 0x9E37_79B9_7F4A_7C15) >> 32)
  }
}
