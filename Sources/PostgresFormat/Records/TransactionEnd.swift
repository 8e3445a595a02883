/// A commit or an abort, of a running or of a prepared transaction.
///
/// Source: `xl_xact_commit` and `xl_xact_abort` in `access/xact.h`, `ParseCommitRecord`.
public struct TransactionEnd: Hashable, Sendable {
  public var isCommit: Bool
  /// When the transaction ended. Not monotonic from record to record.
  public var time: PostgresTimestamp
  /// The transaction that ended: of a prepared one its own id, not that of the session ending it.
  public var xid: UInt32
  /// Ends a prepared transaction (`COMMIT PREPARED`, `ROLLBACK PREPARED`).
  public var endsPrepared: Bool
  /// The name given to `PREPARE TRANSACTION`, where the record has it (`wal_level=logical`).
  public var preparedName: String?
  /// The session's database; 0 where the record does not say.
  public var database: UInt32
  public var subtransactions: [UInt32]
  /// Relations whose files, every fork, go away once this record is durable.
  public var droppedRelations: [RelFileLocator]
  /// Where and when the transaction was committed upstream, if it was replicated from there.
  public var originLSN: LSN?
  public var originTime: PostgresTimestamp?
}

/// `PREPARE TRANSACTION`. Source: `xl_xact_prepare`.
public struct PreparedTransaction: Hashable, Sendable {
  public var xid: UInt32
  public var database: UInt32
  public var owner: UInt32
  public var time: PostgresTimestamp
  public var name: String
  public var subtransactions: [UInt32]
  public var relationsDroppedOnCommit: [RelFileLocator]
  public var relationsDroppedOnAbort: [RelFileLocator]
}

extension WALRecordView {
  /// Whether the record ends a transaction, prepared ones included.
  public var endsTransaction: Bool {
    guard resourceManager == .transaction else { return false }
    switch info & TransactionOpcode.mask {
    case TransactionOpcode.commit, TransactionOpcode.abort, TransactionOpcode.commitPrepared,
      TransactionOpcode.abortPrepared:
      return true
    default: return false
    }
  }

  /// Whether the record commits a transaction, prepared ones included.
  public var commitsTransaction: Bool {
    let operation = info & TransactionOpcode.mask
    return resourceManager == .transaction
      && (operation == TransactionOpcode.commit || operation == TransactionOpcode.commitPrepared)
  }

  /// Whether a moment that leaves the record out is another one for whoever looks: it commits a transaction, prepares
  /// one, or rolls a prepared one back. An abort is none: what it undoes nobody saw.
  public var settlesTransaction: Bool {
    guard resourceManager == .transaction else { return false }
    switch info & TransactionOpcode.mask {
    case TransactionOpcode.commit, TransactionOpcode.commitPrepared, TransactionOpcode.prepare,
      TransactionOpcode.abortPrepared:
      return true
    default: return false
    }
  }

  /// When the transaction that the record ends did end; nil for every other record. No allocation.
  public var transactionEndTime: PostgresTimestamp? {
    guard endsTransaction, mainData.count >= 8 else { return nil }
    return PostgresTimestamp(Int64(bitPattern: mainData.baseAddress!.u64(0)))
  }

  /// The commit or abort that the record is; nil for every other record.
  /// - Throws: ``FormatError`` with code `.recordContent`.
  public func transactionEnd() throws -> TransactionEnd? {
    guard endsTransaction else { return nil }
    var cursor = ByteCursor(mainData)
    guard let end = TransactionEnd(record: self, &cursor) else {
      throw unreadable("a transaction's end", cursor)
    }
    return end
  }

  /// The prepare that the record is; nil for every other record.
  /// - Throws: ``FormatError`` with code `.recordContent`.
  public func preparedTransaction() throws -> PreparedTransaction? {
    guard resourceManager == .transaction,
      info & TransactionOpcode.mask == TransactionOpcode.prepare
    else { return nil }
    var cursor = ByteCursor(mainData)
    guard let prepared = PreparedTransaction(&cursor, format.format) else {
      throw unreadable("a prepared transaction", cursor)
    }
    return prepared
  }

  func unreadable(_ what: String, _ cursor: ByteCursor) -> FormatError {
    FormatError(
      .recordContent, lsn: startLSN, offset: mainDataOffset + cursor.offset, expected: what,
      found: "\(mainData.count) bytes")
  }
}

/// Bits of `xinfo`.
private enum Included {
  static let database: UInt32 = 1 << 0
  static let subtransactions: UInt32 = 1 << 1
  static let relations: UInt32 = 1 << 2
  static let invalidations: UInt32 = 1 << 3
  static let prepared: UInt32 = 1 << 4
  static let origin: UInt32 = 1 << 5
  static let name: UInt32 = 1 << 7
  static let statistics: UInt32 = 1 << 8
}

/// `sizeof(SharedInvalidationMessage)`.
private let invalidationLength = 16

extension TransactionEnd {
  init?(record: WALRecordView, _ cursor: inout ByteCursor) {
    guard let time = cursor.i64() else { return nil }
    let operation = record.info & TransactionOpcode.mask
    self.init(
      isCommit: record.commitsTransaction, time: PostgresTimestamp(time), xid: record.xid,
      endsPrepared: operation == TransactionOpcode.commitPrepared
        || operation == TransactionOpcode.abortPrepared,
      preparedName: nil, database: 0, subtransactions: [], droppedRelations: [], originLSN: nil,
      originTime: nil)
    guard record.info & TransactionOpcode.hasInfo != 0 else { return }
    guard let included = cursor.u32(),
      readLists(&cursor, included, record.format.format), readOrigin(&cursor, included)
    else { return nil }
  }

  private mutating func readLists(
    _ cursor: inout ByteCursor, _ included: UInt32, _ table: FormatTable
  ) -> Bool {
    if included & Included.database != 0 {
      guard let database = cursor.u32(), cursor.skip(4) else { return false }
      self.database = database
    }
    if included & Included.subtransactions != 0 {
      guard let count = cursor.count(ofStride: 4) else { return false }
      subtransactions = cursor.numbers(count)
    }
    if included & Included.relations != 0 {
      guard let count = cursor.count(ofStride: 12) else { return false }
      droppedRelations = cursor.locators(count)
    }
    let item = table.droppedStatisticsLength
    if item > 0, included & Included.statistics != 0 {
      guard let count = cursor.count(ofStride: item), cursor.skip(count * item) else {
        return false
      }
    }
    return true
  }

  private mutating func readOrigin(_ cursor: inout ByteCursor, _ included: UInt32) -> Bool {
    if isCommit, included & Included.invalidations != 0 {
      guard let count = cursor.count(ofStride: invalidationLength),
        cursor.skip(count * invalidationLength)
      else { return false }
    }
    if included & Included.prepared != 0 {
      guard let xid = cursor.u32() else { return false }
      self.xid = xid
      if included & Included.name != 0 {
        guard let name = cursor.cString() else { return false }
        preparedName = name
      }
    }
    if included & Included.origin != 0 {
      guard let lsn = cursor.u64(), let time = cursor.i64() else { return false }
      originLSN = LSN(lsn)
      originTime = PostgresTimestamp(time)
    }
    return true
  }
}

extension PreparedTransaction {
  init?(_ cursor: inout ByteCursor, _ table: FormatTable) {
    guard cursor.skip(8), let xid = cursor.u32(), let database = cursor.u32(),
      let time = cursor.i64(), let owner = cursor.u32(),
      let subtransactionCount = cursor.signedCount(), let commitCount = cursor.signedCount(),
      let abortCount = cursor.signedCount(),
      cursor.skip(table.droppedStatisticsLength > 0 ? 8 : 0), cursor.skip(6),
      let nameLength = cursor.u16(), cursor.skip(16),
      let name = cursor.text(Int(nameLength)), cursor.align(8),
      subtransactionCount <= cursor.remaining / 4
    else { return nil }
    let subtransactions = cursor.numbers(subtransactionCount)
    guard cursor.align(8), commitCount <= cursor.remaining / 12 else { return nil }
    let onCommit = cursor.locators(commitCount)
    guard cursor.align(8), abortCount <= cursor.remaining / 12 else { return nil }
    self.init(
      xid: xid, database: database, owner: owner, time: PostgresTimestamp(time), name: name,
      subtransactions: subtransactions, relationsDroppedOnCommit: onCommit,
      relationsDroppedOnAbort: cursor.locators(abortCount))
  }
}
