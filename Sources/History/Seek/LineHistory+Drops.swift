import PostgresFormat

/// A record that ends a transaction later than a time.
struct FoundEnd: Sendable {
  /// Where it starts, and where the record before it ends.
  var start: LSN
  var end: LSN
  /// From here on the WAL before it was looked at.
  var searched: LSN
  /// Whether a transaction ended in that WAL.
  var hasEarlier: Bool
  /// The first record of a `DROP DATABASE` since then.
  var drop: EarlyDrop?
}

/// What a `DROP DATABASE` that has not committed did first: see ``WALRecordView/dropsDatabaseEarly``.
struct EarlyDrop: Sendable {
  var start: LSN
  /// Where the record before it ends; `nil` where that was not looked at.
  var end: LSN?
}

/// Looks at records in their order.
struct EndSearch {
  private let time: PostgresTimestamp?
  private(set) var found: LSN?
  /// The end of the record before the one that was found.
  private(set) var previous: LSN?
  private(set) var hasEarlier = false
  private(set) var drop: EarlyDrop?

  /// - Parameter time: `nil` goes on to the last record.
  init(after time: PostgresTimestamp?) { self.time = time }

  /// False where the record ends a transaction later than the time.
  mutating func goesOn(with record: WALRecordView) -> Bool {
    if let ended = record.transactionEndTime {
      if let time, ended > time {
        found = record.startLSN
        return false
      }
      hasEarlier = true
      drop = nil
    } else if drop == nil, record.dropsDatabaseEarly {
      drop = EarlyDrop(start: record.startLSN, end: previous)
    }
    previous = record.endLSN
    return true
  }
}

extension LineHistory {
  /// Less WAL than this is parsed at once; of more, the chunks' activity tells first whether a database went.
  private static let parsedAtOnce: UInt64 = 4 << 20
  /// A transaction that ended before more chunks than these is not looked for.
  private static let chunkLimit = 32

  /// The first thing that a `DROP DATABASE` did since the last transaction that ended before `found`.
  ///
  /// A quiet server's drop would otherwise be part of every moment between the last commit before it and its own.
  func earlyDrop(before found: FoundEnd) async throws -> (start: LSN, end: LSN)? {
    var drop = found.drop
    if !found.hasEarlier, let from = try await lastEndedPart(before: found.searched),
      try await mayHaveDrop(from..<found.start)
    {
      var search = EndSearch(after: nil)
      try await parse(from: from, to: found.start) { search.goesOn(with: $0) }
      drop = search.drop
    }
    guard let drop else { return nil }
    if let end = drop.end { return (drop.start, end) }
    return (drop.start, try await lastRecordEnd(at: drop.start))
  }

  /// What a `DROP DATABASE` whose files' removal the WAL has at `lsn` was: where the first thing that it did starts,
  /// so that a moment there has the database, and when it committed.
  /// - Returns: a time of `nil` where no commit of it is there.
  public func databaseDrop(
    at lsn: LSN, xid: UInt32
  ) async throws -> (start: LSN, time: PostgresTimestamp?) {
    guard let from = try await lastEndedPart(before: lsn) else { return (lsn, nil) }
    var search = EndSearch(after: nil)
    var (start, time) = (lsn, PostgresTimestamp?.none)
    let end = min(lsn + LineHistory.parsedAtOnce, chain.uploadedLSN)
    try await parse(from: from, to: end) { record in
      if record.startLSN <= lsn {
        _ = search.goesOn(with: record)
        start = search.drop?.start ?? lsn
      } else if record.xid == xid, record.commitsTransaction {
        time = record.transactionEndTime
        return false
      }
      return true
    }
    return (start, time)
  }

  private func mayHaveDrop(_ range: Range<LSN>) async throws -> Bool {
    if range.upperBound - range.lowerBound <= LineHistory.parsedAtOnce { return true }
    return try await activity(from: range.lowerBound, to: range.upperBound).fileChanges.contains {
      $0.kind == .databaseDropped && range.contains($0.lsn)
    }
  }

  /// The start of a record before `lsn`, in the last part of a chunk in which a transaction ended, or of the first
  /// chunk that is looked at.
  private func lastEndedPart(before lsn: LSN) async throws -> LSN? {
    var from: LSN?
    let pieces = chain.pieces.reversed().lazy.drop { $0.range.lowerBound >= lsn }
    for piece in pieces.prefix(LineHistory.chunkLimit) {
      let summary = piece.chunk.summary
      var parts = [summary]
      if summary.latestTime != nil,
        summary.endLSN > lsn || summary.byteCount > LineHistory.parsedAtOnce
      {
        let runs = try await reader(of: piece).runs()
        parts = runs.isEmpty ? parts : runs
      }
      let limit = min(lsn, piece.range.upperBound)
      for part in parts.reversed() {
        guard let start = part.firstRecordStart, start < limit else { continue }
        from = start
        if part.latestTime != nil { return start }
      }
    }
    return from
  }
}
