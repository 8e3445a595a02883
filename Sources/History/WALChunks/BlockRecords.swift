import PostgresFormat

/// The records of a run of WAL by the blocks that they touch, collected in WAL order.
///
/// Flat arrays, so that capture allocates nothing for a record; sorted when they are stored. Takes
/// 12 bytes for each block of each record.
struct BlockRecords: Sendable {
  /// Records begin at multiples of this (`MAXALIGN`); positions are counted in it.
  static let unit: UInt64 = 8

  /// A record that touches a block.
  struct Entry: Sendable {
    /// Index in ``relations``.
    var slot: UInt32
    var block: UInt32
    var position: BlockPosition
  }

  /// Positions count from here: the start of the first record that ends in the run.
  private(set) var base: LSN?
  /// In the order in which they came.
  private(set) var relations: [RelationFork] = []
  private(set) var entries: [Entry] = []
  /// In WAL order.
  private(set) var cuts: [BlockCut] = []
  /// Open addressing over ``relations``: index plus one, 0 where free.
  private var table: [UInt32] = []
  private var lastSlot = 0

  /// A record follows those before.
  mutating func beginRecord(at start: LSN) {
    if base == nil { base = start }
  }

  /// The record that begins at `lsn` touches a block.
  /// - Parameter startsPage: what the block held before does not matter.
  mutating func add(
    _ locator: RelFileLocator, _ fork: ForkNumber, block: UInt32, lsn: LSN, startsPage: Bool
  ) {
    let slot = slot(of: RelationFork(locator: locator, fork: fork))
    let position = BlockPosition(lsn: lsn, base: base!, startsPage: startsPage)
    entries.append(Entry(slot: slot, block: block, position: position))
  }

  mutating func add(_ cut: BlockCut) { cuts.append(cut) }

  // MARK: Relations

  mutating func slot(of relation: RelationFork) -> UInt32 {
    if lastSlot < relations.count, relations[lastSlot] == relation { return UInt32(lastSlot) }
    if relations.count * 2 >= table.count { growTable() }
    var place = BlockRecords.hash(relation) & (table.count - 1)
    while table[place] != 0 {
      let slot = Int(table[place]) - 1
      if relations[slot] == relation {
        lastSlot = slot
        return UInt32(slot)
      }
      place = (place + 1) & (table.count - 1)
    }
    lastSlot = relations.count
    relations.append(relation)
    table[place] = UInt32(relations.count)
    return UInt32(lastSlot)
  }

  private mutating func growTable() {
    table = [UInt32](repeating: 0, count: max(64, table.count * 2))
    for (slot, relation) in relations.enumerated() {
      var place = BlockRecords.hash(relation) & (table.count - 1)
      while table[place] != 0 { place = (place + 1) & (table.count - 1) }
      table[place] = UInt32(slot + 1)
    }
  }

  @inline(__always)
  private static func hash(_ relation: RelationFork) -> Int {
    var hash = UInt64(relation.locator.relation) << 8 | UInt64(relation.fork.rawValue)
    hash ^= UInt64(relation.locator.database) << 40 ^ UInt64(relation.locator.tablespace) << 20
    return Int(truncatingIfNeeded: (hash &* 0x9E37_79B9_7F4A_7C15) >> 32)
  }
}

/// Where a record begins, counted from a base in units of 8 bytes, and whether it starts the page.
struct BlockPosition: Hashable, Comparable, Sendable {
  private(set) var rawValue: UInt32

  init(units: UInt32, startsPage: Bool) { rawValue = units << 1 | (startsPage ? 1 : 0) }

  /// Traps where `lsn` lies 16 GiB or more after the base: no chunk is that long.
  init(lsn: LSN, base: LSN, startsPage: Bool) {
    let units = (lsn - base) / BlockRecords.unit
    precondition(units <= BlockPosition.maximumUnits, "a record 16 GiB after its chunk's first")
    self.init(units: UInt32(truncatingIfNeeded: units), startsPage: startsPage)
  }

  static let maximumUnits: UInt64 = 1 << 31 - 1

  var units: UInt32 { rawValue >> 1 }
  var startsPage: Bool { rawValue & 1 != 0 }

  func lsn(base: LSN) -> LSN { base + UInt64(units) * BlockRecords.unit }

  func advanced(by shift: UInt32) -> BlockPosition {
    BlockPosition(units: units + shift, startsPage: startsPage)
  }

  static func < (a: BlockPosition, b: BlockPosition) -> Bool { a.rawValue < b.rawValue }
}
