extension RelationFile {
  /// The relation file of this name in a database's directory; nil for every other file.
  public init?(fileName: String, in directory: DatabaseDirectory) {
    self.init(
      name: fileName[...], tablespace: directory.tablespace, database: directory.database)
  }
}

extension DatabaseDirectory {
  /// The directory of shared relations: `global/`.
  public static let shared = DatabaseDirectory(
    tablespace: PostgresLayout.globalTablespace, database: 0)
}

/// How long a relation's maps are for a heap of so many blocks.
public enum RelationMaps {
  /// `SlotsPerFSMPage`: a binary tree of one byte nodes fills the page behind its header and one
  /// pointer. Source: `storage/fsm_internals.h`.
  private static let slotsPerPage: UInt32 =
    UInt32(PostgresLayout.blockSize - 24 - 4) - UInt32(PostgresLayout.blockSize / 2 - 1)
  /// `FSM_TREE_DEPTH`.
  private static let treeDepth = 3

  /// Blocks that a truncation of the heap to `heapBlocks` leaves of the free space map at most.
  /// Source: `FreeSpaceMapPrepareTruncateRel`, `fsm_logical_to_physical` in `freespace.c`.
  public static func freeSpaceMapBlocks(ofHeapBlocks heapBlocks: UInt32) -> UInt32 {
    var leaf = heapBlocks / slotsPerPage
    var block: UInt32 = 0
    for _ in 0..<treeDepth {
      block += leaf + 1
      leaf /= slotsPerPage
    }
    block -= 1
    return heapBlocks % slotsPerPage > 0 ? block + 1 : block
  }

  /// Blocks that a truncation of the heap to `heapBlocks` leaves of the visibility map at most.
  /// Source: `visibilitymap_prepare_truncate` in `visibilitymap.c`.
  public static func visibilityMapBlocks(ofHeapBlocks heapBlocks: UInt32) -> UInt32 {
    let perBlock = ClearedVisibility.heapBlocksPerMapBlock
    return heapBlocks / perBlock + (heapBlocks % perBlock > 0 ? 1 : 0)
  }
}
