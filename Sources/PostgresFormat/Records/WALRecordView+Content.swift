extension WALRecordView {
  /// What the record does, as far as this module knows; `.other` for the rest.
  ///
  /// - Throws: ``FormatError`` with code `.recordContent` when a known kind is too short or
  ///   malformed.
  public func content() throws -> WALRecordContent {
    var cursor = ByteCursor(mainData)
    let known: WALRecordContent?
    switch resourceManager {
    case .transaction:
      if let end = try transactionEnd() { return .transactionEnd(end) }
      return try preparedTransaction().map { .prepare($0) } ?? .other
    case .xlog: known = logContent(&cursor)
    case .storage: known = storageContent(&cursor)
    case .database: known = databaseContent(&cursor)
    case .tablespace: known = tablespaceContent(&cursor)
    case .relationMap: known = relationMapContent(&cursor)
    case .standby: known = standbyContent(&cursor)
    case .heap: known = truncateContent(&cursor)
    default: known = .other
    }
    guard let known else {
      throw unreadable("\(resourceManager.name) record \(hex(opcode))", cursor)
    }
    return known
  }

  /// The settings that the record notes; `nil` for all other kinds.
  ///
  /// - Throws: as ``content()``.
  public func parameterChange() throws -> ParameterChange? {
    guard resourceManager == .xlog, opcode == XLOGOpcode.parameterChange,
      case .parameterChange(let change) = try content()
    else { return nil }
    return change
  }

  /// Whether the server that wrote it leaves what is loaded in bulk out of its WAL from here on (`wal_level` minimal).
  ///
  /// - Throws: as ``content()``.
  public func beginsMinimalWAL() throws -> Bool { try parameterChange()?.walLevel == 0 }

  private func logContent(_ cursor: inout ByteCursor) -> WALRecordContent? {
    switch opcode {
    case XLOGOpcode.checkpointShutdown, XLOGOpcode.checkpointOnline:
      guard mainData.count >= Checkpoint.length else { return nil }
      return .checkpoint(
        Checkpoint(at: mainData.baseAddress!), isShutdown: opcode == XLOGOpcode.checkpointShutdown)
    case XLOGOpcode.noop: return .noop
    case XLOGOpcode.nextOID: return cursor.u32().map { .nextOID($0) }
    case XLOGOpcode.segmentSwitch: return .segmentSwitch
    case XLOGOpcode.backupEnd: return cursor.u64().map { .backupEnd(start: LSN($0)) }
    case XLOGOpcode.parameterChange: return ParameterChange(&cursor).map { .parameterChange($0) }
    case XLOGOpcode.fullPageWritesChange: return cursor.bool().map { .fullPageWritesChange($0) }
    case XLOGOpcode.imageForHint: return .fullPageImages(forHint: true)
    case XLOGOpcode.image: return .fullPageImages(forHint: false)
    case XLOGOpcode.checkpointRedo: return format >= .v17 ? .checkpointRedo : .other
    default: return logContentWithTime(&cursor)
    }
  }

  private func logContentWithTime(_ cursor: inout ByteCursor) -> WALRecordContent? {
    switch opcode {
    case XLOGOpcode.restorePoint:
      guard let time = cursor.i64(), let name = cursor.text(cursor.remaining) else { return nil }
      return .restorePoint(name: name, time: PostgresTimestamp(time))
    case XLOGOpcode.endOfRecovery:
      guard let time = cursor.i64(), let timeline = cursor.u32(), let previous = cursor.u32() else {
        return nil
      }
      return .endOfRecovery(
        timeline: TimelineID(timeline), previous: TimelineID(previous),
        time: PostgresTimestamp(time))
    case XLOGOpcode.overwriteContinuation:
      guard let lsn = cursor.u64(), let time = cursor.i64() else { return nil }
      return .overwriteContinuation(of: LSN(lsn), time: PostgresTimestamp(time))
    default: return .other
    }
  }

  /// Source: `XLOG_SMGR_CREATE` 0x10, `XLOG_SMGR_TRUNCATE` 0x20.
  private func storageContent(_ cursor: inout ByteCursor) -> WALRecordContent? {
    switch opcode {
    case 0x10:
      guard let locator = cursor.locator(), let number = cursor.u32(), number <= 3,
        let fork = ForkNumber(rawValue: UInt8(number))
      else { return nil }
      return .fileCreate(locator, fork)
    case 0x20:
      guard let blocks = cursor.u32(), let locator = cursor.locator(), let flags = cursor.u32()
      else { return nil }
      return .fileTruncate(locator, toBlocks: blocks, TruncatedForks(rawValue: flags))
    default: return .other
    }
  }

  private func databaseContent(_ cursor: inout ByteCursor) -> WALRecordContent? {
    let opcodes = format.format.databaseOpcodes
    switch opcode {
    case opcodes.createByFileCopy:
      guard let to = cursor.directory(), let from = cursor.directory() else { return nil }
      return .databaseCreateByFileCopy(to, from: from)
    case opcodes.drop:
      guard let database = cursor.u32(), let count = cursor.count(ofStride: 4) else { return nil }
      return .databaseDrop(database: database, tablespaces: cursor.numbers(count))
    case opcodes.createByWAL: return cursor.directory().map { .databaseCreate($0) }
    default: return .other
    }
  }

  /// Source: `XLOG_TBLSPC_CREATE` 0x00, `XLOG_TBLSPC_DROP` 0x10.
  private func tablespaceContent(_ cursor: inout ByteCursor) -> WALRecordContent? {
    guard opcode == 0x00 || opcode == 0x10 else { return .other }
    guard let number = cursor.u32() else { return nil }
    if opcode == 0x10 { return .tablespaceDrop(number) }
    return cursor.text(cursor.remaining).map { .tablespaceCreate(number, path: $0) }
  }

  private func relationMapContent(_ cursor: inout ByteCursor) -> WALRecordContent? {
    guard opcode == 0x00 else { return .other }
    guard let directory = cursor.directory(), let length = cursor.count(ofStride: 1) else {
      return nil
    }
    return .relationMap(directory, mapLength: length)
  }

  /// Source: `XLOG_RUNNING_XACTS` 0x10.
  private func standbyContent(_ cursor: inout ByteCursor) -> WALRecordContent? {
    guard opcode == 0x10 else { return .other }
    return RunningTransactions(&cursor).map { .runningTransactions($0) }
  }

  private func truncateContent(_ cursor: inout ByteCursor) -> WALRecordContent? {
    guard info & HeapOpcode.mask == HeapOpcode.truncate else { return .other }
    guard let database = cursor.u32(), let count = cursor.u32(), cursor.skip(4),
      count <= cursor.remaining / 4
    else { return nil }
    return .tableTruncate(database: database, relationOIDs: cursor.numbers(Int(count)))
  }
}

extension ByteCursor {
  /// A database and its tablespace, in the order of the `xl_dbase_` structures.
  fileprivate mutating func directory() -> DatabaseDirectory? {
    guard let database = u32(), let tablespace = u32() else { return nil }
    return DatabaseDirectory(tablespace: tablespace, database: database)
  }

  fileprivate mutating func i32() -> Int32? { u32().map { Int32(bitPattern: $0) } }
}

extension ParameterChange {
  fileprivate init?(_ cursor: inout ByteCursor) {
    guard let connections = cursor.i32(), let workers = cursor.i32(), let senders = cursor.i32(),
      let prepared = cursor.i32(), let locks = cursor.i32(), let level = cursor.i32(),
      let hints = cursor.bool(), let timestamps = cursor.bool()
    else { return nil }
    self.init(
      maxConnections: connections, maxWorkerProcesses: workers, maxWALSenders: senders,
      maxPreparedTransactions: prepared, maxLocksPerTransaction: locks, walLevel: level,
      walLogHints: hints, trackCommitTimestamp: timestamps)
  }
}

extension RunningTransactions {
  fileprivate init?(_ cursor: inout ByteCursor) {
    guard let count = cursor.signedCount(), let subcount = cursor.signedCount(),
      let overflowed = cursor.bool(), cursor.skip(3), let next = cursor.u32(),
      let oldest = cursor.u32(), let latest = cursor.u32(),
      count <= cursor.remaining / 4, subcount <= cursor.remaining / 4 - count
    else { return nil }
    self.init(
      nextXID: next, oldestRunningXID: oldest, latestCompletedXID: latest,
      subtransactionsOverflowed: overflowed, transactions: cursor.numbers(count),
      subtransactions: cursor.numbers(subcount))
  }
}
