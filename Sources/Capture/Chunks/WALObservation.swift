import History
import PostgresFormat

extension WALChunkBuilder {
  /// Notes what a verified record says for the chunk's index. Allocates only for records that
  /// drop, cut or create files.
  mutating func observe(_ record: WALRecordView) throws {
    observeRecord(start: record.startLSN, end: record.endLSN)
    try observeBlocks(of: record)
    let isHard = try record.isHard || record.beginsMinimalWAL()
    if isHard { observeHardRecord(at: record.startLSN) }
    switch record.resourceManager {
    case .transaction: try observeTransaction(record)
    case .heap:
      if case .delete = record.heapOperation, let block = record.blockReferences.first {
        observeHeapDelete(block.locator)
      }
    case .storage, .database: try observeFiles(record)
    default: break
    }
  }

  private mutating func observeTransaction(_ record: WALRecordView) throws {
    guard let time = record.transactionEndTime else { return }
    observeTransactionEnd(committed: record.commitsTransaction, time: time)
    // Bit 7 (XLOG_XACT_HAS_INFO): only then can there be dropped relations.
    guard record.info & 0x80 != 0, let end = try record.transactionEnd() else { return }
    for relation in end.droppedRelations {
      observeFileChange(.dropped, relation, xid: end.xid, lsn: record.startLSN)
    }
  }

  private mutating func observeFiles(_ record: WALRecordView) throws {
    func note(_ kind: WALActivity.FileChange.Kind, _ locator: RelFileLocator) {
      observeFileChange(kind, locator, xid: record.xid, lsn: record.startLSN)
    }
    switch try record.content() {
    case .fileCreate(let locator, .main): note(.created, locator)
    case .fileTruncate(let locator, _, _): note(.truncated, locator)
    case .databaseCreate(let to), .databaseCreateByFileCopy(let to, _):
      note(
        .databaseCreated,
        RelFileLocator(tablespace: to.tablespace, database: to.database, relation: 0))
    case .databaseDrop(let database, let tablespaces):
      for tablespace in tablespaces {
        note(
          .databaseDropped,
          RelFileLocator(tablespace: tablespace, database: database, relation: 0))
      }
    default: break
    }
  }
}
