import PostgresFormat

/// A record that ends a transaction later than a time.
struct FoundEnd: Sendable {
  /// Where it starts, and where the record before it ends.
  var start: LSN
  var end: LSN
  /// From here on the WAL before it was looked at.
  var searched: LSN
  /// Whether a transaction was settled in that WAL.
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
    if let time, let ended = record.transactionEndTime, ended > time {
      found = record.startLSN
      return false
    }
    if record.settlesTransaction {
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

  /// The first thing that a `DROP DATABASE` did since the last transaction that was settled before `found`.
  ///
  /// A quiet server's drop would otherwise be part of every moment between the last commit before it and its own.
  func earlyDrop(before found: FoundEnd) async throws -> (start: LSN, end: LSN)? {
    var drop = found.drop
    if !found.hasEarlier, let from = try await lastSettlingPart(before: found.searched),
      try await mayHaveDrop(since: from, before: found.start)
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
  /// - Returns: a time of `nil` where no commit of it is near.
  public func databaseDrop(
    at lsn: LSN, xid: UInt32
  ) async throws -> (start: LSN, time: PostgresTimestamp?) {
    guard let piece = chain.piece(holding: lsn) else { return (lsn, nil) }
    let parts = try await parts(of: piece)
    let from = parts.last { ($0.firstRecordStart ?? .init(.max)) <= lsn }?.firstRecordStart ?? lsn
    var search = EndSearch(after: nil)
    try await parse(from: from, to: lsn) { search.goesOn(with: $0) }
    let found = FoundEnd(
      start: lsn, end: lsn, searched: from, hasEarlier: search.hasEarlier, drop: search.drop)
    let start = try await earlyDrop(before: found)?.start ?? lsn
    var time: PostgresTimestamp?
    try await parse(from: lsn, to: min(lsn + LineHistory.commitDistance, chain.uploadedLSN)) {
      guard $0.xid == xid, $0.commitsTransaction else { return true }
      time = $0.transactionEndTime
      return false
    }
    return (start, time)
  }

  /// The commit follows the files' removal at once.
  private static let commitDistance: UInt64 = 1 << 20

  /// - Parameter end: the removal of files may come behind it, when another transaction was settled meanwhile.
  private func mayHaveDrop(since from: LSN, before end: LSN) async throws -> Bool {
    if end - from <= LineHistory.parsedAtOnce { return true }
    let behind = min(end + LineHistory.parsedAtOnce, chain.uploadedLSN)
    return try await activity(from: from, to: behind).fileChanges.contains {
      $0.kind == .databaseDropped && $0.lsn >= from
    }
  }

  /// The start of a record before `lsn`, in the last part of a chunk in which a transaction committed, or of the first
  /// chunk that is looked at.
  private func lastSettlingPart(before lsn: LSN) async throws -> LSN? {
    var from: LSN?
    let pieces = chain.pieces.reversed().lazy.drop { $0.range.lowerBound >= lsn }
    for piece in pieces.prefix(LineHistory.chunkLimit) {
      let limit = min(lsn, piece.range.upperBound)
      for part in try await parts(of: piece).reversed() {
        guard let start = part.firstRecordStart, start < limit else { continue }
        from = start
        // What a part says that is cut may lie behind the cut.
        if part.commits > 0, part.endLSN <= limit { return start }
      }
    }
    return from
  }

  /// What is known of a chunk, in its order: of a long one part by part.
  private func parts(of piece: LineChain.Piece) async throws -> [WALChunkSummary] {
    let summary = piece.chunk.summary
    guard summary.byteCount > LineHistory.parsedAtOnce else { return [summary] }
    let runs = try await reader(of: piece).runs()
    return runs.isEmpty ? [summary] : runs
  }
}
