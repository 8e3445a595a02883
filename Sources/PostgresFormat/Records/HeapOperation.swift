/// What a heap record does to rows.
public enum HeapOperation: Hashable, Sendable {
  case insert
  /// Many rows of one page at once, as `COPY` writes them.
  case multiInsert(rows: Int)
  case delete
  case update
  case lock
}

/// Heap blocks whose visibility-map bits a record clears without naming the map's block.
///
/// An update may clear two. Row locks clear only the all-frozen bit, the others both.
/// Source: the redo functions of `heapam.c`.
public struct ClearedVisibility: Hashable, Sendable {
  public var first: BlockReference?
  public var second: BlockReference?

  static let none = ClearedVisibility(first: nil, second: nil)

  /// Heap blocks that one block of the visibility map describes: two bits each, after the page
  /// header.
  public static let heapBlocksPerMapBlock: UInt32 = UInt32((PostgresLayout.blockSize - 24) * 4)

  /// The block of the visibility map that holds a heap block's bits.
  /// Source: `HEAPBLK_TO_MAPBLOCK` in `access/heap/visibilitymap.c`.
  @inlinable
  public static func mapBlock(ofHeapBlock block: UInt32) -> UInt32 {
    block / heapBlocksPerMapBlock
  }
}

extension WALRecordView {
  /// What the record does to rows; nil for every other kind. No allocation.
  ///
  /// An insertion given up by `ON CONFLICT` (`XLH_DELETE_IS_SUPER`) is not a delete.
  public var heapOperation: HeapOperation? {
    let data = mainData
    if resourceManager == .heap2 {
      switch info & HeapOpcode.mask {
      case HeapOpcode.multiInsert2 where data.count >= 4:
        return .multiInsert(rows: Int(data.baseAddress!.u16(2)))
      case HeapOpcode.lockUpdated2: return .lock
      default: return nil
      }
    }
    guard resourceManager == .heap else { return nil }
    switch info & HeapOpcode.mask {
    case HeapOpcode.insert: return .insert
    case HeapOpcode.delete where data.count >= 8 && data[7] & 0x08 != 0: return nil
    case HeapOpcode.delete: return .delete
    case HeapOpcode.update, HeapOpcode.hotUpdate: return .update
    case HeapOpcode.lock: return .lock
    default: return nil
    }
  }

  /// Whether the record belongs to what `DROP DATABASE` does before its transaction ends, and an abort does not
  /// undo: it overwrites the database's row in `pg_database` as invalid, then removes the files. Also true of the
  /// overwriting by which `VACUUM` notes the oldest transaction there. No allocation.
  ///
  /// Source: `dropdb` in `commands/dbcommands.c`; `pg_database` is the only shared catalog that is overwritten so.
  public var dropsDatabaseEarly: Bool {
    if resourceManager == .database { return opcode == format.format.databaseOpcodes.drop }
    guard resourceManager == .heap, info & HeapOpcode.mask == HeapOpcode.inPlace else {
      return false
    }
    return blockReferences.first?.locator.tablespace == PostgresLayout.globalTablespace
  }

  /// The heap blocks whose bits in the visibility map this record clears. No allocation.
  public var clearedVisibility: ClearedVisibility {
    guard let flags = visibilityFlags, flags & 0x03 != 0, let new = blockReference(id: 0) else {
      return .none
    }
    let operation = info & HeapOpcode.mask
    guard resourceManager == .heap,
      operation == HeapOpcode.update || operation == HeapOpcode.hotUpdate
    else { return flags & 0x01 != 0 ? ClearedVisibility(first: new, second: nil) : .none }
    // Bit 0: the old row's page, which is the new one's unless the record names block 1.
    let old = flags & 0x01 != 0 ? blockReference(id: 1) ?? new : nil
    let other = flags & 0x02 != 0 ? new : nil
    guard let old else { return ClearedVisibility(first: other, second: nil) }
    return ClearedVisibility(first: old, second: old.block == other?.block ? nil : other)
  }

  /// The record's flag byte, of which the lowest bits speak of the visibility map.
  private var visibilityFlags: UInt8? {
    let data = mainData
    let offset: Int
    switch (resourceManager, info & HeapOpcode.mask) {
    case (.heap, HeapOpcode.insert): offset = 2
    case (.heap, HeapOpcode.delete), (.heap, HeapOpcode.update), (.heap, HeapOpcode.hotUpdate),
      (.heap, HeapOpcode.lock), (.heap2, HeapOpcode.lockUpdated2):
      offset = 7
    case (.heap2, HeapOpcode.multiInsert2): offset = 0
    default: return nil
    }
    return offset < data.count ? data[offset] : nil
  }
}
