import PostgresFormat

extension BlockRecords {
  /// Adds what a verified record touches and cuts, after ``beginRecord(at:)``.
  ///
  /// The blocks that it names; blocks of the visibility map whose bits a heap record clears without
  /// naming them; truncations, creations and drops. A page image that serves consistency checks
  /// only does not start its page.
  /// - Throws: ``FormatError`` where a record of files is malformed.
  mutating func add(_ record: WALRecordView) throws {
    let lsn = record.startLSN
    for block in record.blockReferences {
      add(
        block.locator, block.fork, block: block.block, lsn: lsn, startsPage: block.startsPage)
    }
    switch record.resourceManager {
    case .heap, .heap2:
      let cleared = record.clearedVisibility
      if let heap = cleared.first { addMap(of: heap, lsn) }
      if let heap = cleared.second { addMap(of: heap, lsn) }
    // Bit 7 (XLOG_XACT_HAS_INFO): only then can there be dropped relations.
    case .transaction where record.info & 0x80 != 0:
      for relation in try record.transactionEnd()?.droppedRelations ?? [] {
        add(BlockCut(locator: relation, forks: .all, mainBlocks: 0, lsn: lsn))
      }
    case .storage, .database: try addFiles(record)
    default: break
    }
  }

  private mutating func addMap(of heap: BlockReference, _ lsn: LSN) {
    add(
      heap.locator, .visibilityMap, block: ClearedVisibility.mapBlock(ofHeapBlock: heap.block),
      lsn: lsn, startsPage: false)
  }

  private mutating func addFiles(_ record: WALRecordView) throws {
    let lsn = record.startLSN
    switch try record.content() {
    case .fileCreate(let locator, let fork):
      add(BlockCut(locator: locator, forks: BlockCut.Forks(fork), mainBlocks: 0, lsn: lsn))
    case .fileTruncate(let locator, let blocks, let truncated):
      var forks = BlockCut.Forks()
      if truncated.contains(.main) { forks.insert(BlockCut.Forks(.main)) }
      if truncated.contains(.visibilityMap) { forks.insert(BlockCut.Forks(.visibilityMap)) }
      if truncated.contains(.freeSpaceMap) { forks.insert(BlockCut.Forks(.freeSpaceMap)) }
      add(BlockCut(locator: locator, forks: forks, mainBlocks: blocks, lsn: lsn))
    case .databaseDrop(let database, let tablespaces):
      for tablespace in tablespaces {
        let all = RelFileLocator(tablespace: tablespace, database: database, relation: 0)
        add(BlockCut(locator: all, forks: .all, mainBlocks: 0, lsn: lsn))
      }
    default: break
    }
  }
}
