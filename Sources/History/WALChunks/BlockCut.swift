import PostgresFormat

/// A place in WAL where blocks of a relation go away: nothing older concerns a block that comes
/// after.
///
/// Truncations, creations of a fork's file, relations dropped at a commit or abort, databases
/// dropped: so a relation file number that is used again never sees the old file's records.
struct BlockCut: Hashable, Sendable {
  /// Bit `1 << number` for each fork.
  struct Forks: OptionSet, Hashable, Sendable {
    var rawValue: UInt8
    static let all = Forks(rawValue: 0x0F)
    init(rawValue: UInt8) { self.rawValue = rawValue }
    init(_ fork: ForkNumber) { rawValue = 1 << fork.rawValue }
    func contains(_ fork: ForkNumber) -> Bool { rawValue & 1 << fork.rawValue != 0 }
  }

  /// Relation 0 stands for every relation of the database.
  var locator: RelFileLocator
  var forks: Forks
  /// Blocks of the *main* fork that stay; the maps' own lengths follow from it.
  var mainBlocks: UInt32
  /// Start of the record.
  var lsn: LSN

  /// What the cut means for a block.
  enum Effect: Hashable, Sendable {
    case none
    /// The block is not there any more.
    case removesBlock
    /// It is the visibility map's last block, and the bits of heap blocks from this one on are
    /// cleared.
    case clearsMap(fromHeapBlock: UInt32)
  }

  /// - Parameter key: of a relation that ``locator`` names.
  func effect(on key: BlockKey) -> Effect {
    guard forks.contains(key.fork) else { return .none }
    if key.block >= BlockCut.length(of: key.fork, mainBlocks: mainBlocks) { return .removesBlock }
    let perBlock = ClearedVisibility.heapBlocksPerMapBlock
    if key.fork == .visibilityMap, key.block == mainBlocks / perBlock {
      return .clearsMap(fromHeapBlock: mainBlocks)
    }
    return .none
  }

  /// The blocks of a fork that stay when the main fork is cut to `mainBlocks`.
  ///
  /// Source: `visibilitymap_prepare_truncate` in `visibilitymap.c`,
  /// `FreeSpaceMapPrepareTruncateRel` and `fsm_logical_to_physical` in `freespace.c`.
  static func length(of fork: ForkNumber, mainBlocks: UInt32) -> UInt32 {
    switch fork {
    case .main, .initialization: return mainBlocks
    case .visibilityMap:
      let perBlock = ClearedVisibility.heapBlocksPerMapBlock
      return mainBlocks / perBlock + (mainBlocks % perBlock == 0 ? 0 : 1)
    case .freeSpaceMap:
      if mainBlocks == 0 { return 0 }
      // The leaf page of the first heap block cut, below its two levels of upper pages.
      let slots = freeSpaceSlots
      let leaf = mainBlocks / slots
      let page = leaf + leaf / slots + leaf / slots / slots + 2
      return page + (mainBlocks % slots == 0 ? 0 : 1)
    }
  }

  /// `SlotsPerFSMPage`: leaves of the tree in one page of the free space map.
  static let freeSpaceSlots: UInt32 =
    UInt32(PostgresLayout.blockSize) - 28
    - (UInt32(PostgresLayout.blockSize) / 2 - 1)
}

extension BlockCut {
  static let encodedSize = 18

  static func encode(_ cuts: [BlockCut], base: LSN) -> [UInt8] {
    var writer = BinaryWriter()
    writer.append(varint: UInt64(cuts.count))
    for cut in cuts {
      writer.append(cut.locator)
      writer.append(cut.forks.rawValue)
      writer.append(cut.mainBlocks)
      writer.append(varint: (cut.lsn - base) / BlockRecords.unit)
    }
    return writer.bytes
  }

  /// Ascending by locator, then LSN.
  static func decode(_ encoded: [UInt8], records: Range<LSN>, key: String) throws -> [BlockCut] {
    try BinaryReader.decode(encoded, key: key, operation: "read cuts of") { reader in
      var cuts: [BlockCut] = []
      for _ in 0..<(try reader.readCount(minimumSize: encodedSize)) {
        let locator = try reader.readLocator()
        let forks = Forks(rawValue: try reader.read())
        let blocks: UInt32 = try reader.read()
        let position = try reader.readVarint()
        guard forks.isSubset(of: .all),
          position < (records.upperBound - records.lowerBound) / BlockRecords.unit + 1
        else { throw reader.malformed("a cut of a record in the chunk") }
        let cut = BlockCut(
          locator: locator, forks: forks, mainBlocks: blocks,
          lsn: records.lowerBound + position * BlockRecords.unit)
        if let last = cuts.last, (last.locator, last.lsn) > (cut.locator, cut.lsn) {
          throw reader.malformed("cuts in order")
        }
        cuts.append(cut)
      }
      return cuts
    }
  }
}
