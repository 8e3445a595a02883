import PostgresFormat

extension LineHistory {
  /// Finds a moment and the keyframe to open it from.
  ///
  /// Looks only at what the last ``refresh()`` found. A time is sought as Postgres's
  /// `recovery_target_time` does with `recovery_target_inclusive=off`: the moment ends before the
  /// first commit or abort, in WAL order, that is later; times do not ascend with WAL. It also ends before what a
  /// `DROP DATABASE` that had not committed did to the database already.
  /// - Parameter now: what counts as the future.
  /// - Throws: ``HistoryError``: `.beforeStart`, `.afterEnd`, `.inTheFuture`, `.gap`,
  ///   `.keyframeDamaged`, `.badWAL`, `.damaged`, `.missing`, `.store`.
  public func seek(_ target: SeekTarget, now: PostgresTimestamp) async throws -> Moment {
    switch target {
    case .lsn(let lsn): return try await seek(lsn: lsn)
    case .head: return try await seek(lsn: chain.uploadedLSN)
    case .time(let time):
      guard time <= now else {
        throw HistoryError(
          .inTheFuture, operation: "seek on line \(line)",
          detail: "\(time.unixMicroseconds) µs is later than now, \(now.unixMicroseconds) µs")
      }
      guard let found = try await firstEnd(after: time) else {
        return try await seek(lsn: chain.uploadedLSN)
      }
      if let moment = try await momentBeforeDrop(found) { return moment }
      return try moment(at: found.end, sought: found.start)
    }
  }

  /// `nil` where no drop lies before the end that was found; or where WAL that the promised moment does without is
  /// missing or damaged: that moment opens without it.
  private func momentBeforeDrop(_ found: FoundEnd) async throws -> Moment? {
    for isRepeated in [false, true] {
      do {
        guard let drop = try await earlyDrop(before: found) else { return nil }
        return try moment(at: drop.end, sought: drop.start)
      } catch let error as HistoryError where error.code == .missing && !isRepeated {
        try await refresh()  // merged meanwhile
      } catch let error as HistoryError where error.isOfHistory {
        return nil
      }
    }
    return nil
  }

  private func seek(lsn: LSN) async throws -> Moment {
    guard lsn <= chain.uploadedLSN else {
      throw HistoryError(
        .afterEnd, operation: "seek on line \(line)", lsn: lsn,
        detail: "the store holds WAL up to \(chain.uploadedLSN)")
    }
    // Before anything is read: a moment that no keyframe serves has no WAL to read either.
    _ = try keyframe(at: lsn)
    return try moment(at: try await lastRecordEnd(at: lsn), sought: lsn)
  }

  /// - Parameter sought: at or after `lsn`, with no whole record between them. A keyframe's
  ///   consistent LSN may lie there: it is where the next record begins, after a page header.
  func moment(at lsn: LSN, sought: LSN) throws -> Moment {
    let keyframe = try keyframe(at: sought)
    let oldest = keyframe.oldestRedoLSN
    if lsn > oldest, let gap = chain.gaps(in: oldest..<lsn).first {
      throw chain.isEvicted(gap) ? beforeWindow(lsn, gap.range) : gapError(gap, at: lsn)
    }
    let index = chain.line(holding: lsn) ?? chain.lines.count - 1
    return Moment(
      line: chain.lines[index].line, lsn: max(lsn, keyframe.redoLSN), keyframe: keyframe,
      complete: chain.keyframes(at: sought).first(where: \.isComplete))
  }

  private func beforeWindow(_ lsn: LSN, _ evicted: Range<LSN>) -> HistoryError {
    HistoryError(
      .beforeStart, operation: "seek on line \(line)", lsn: lsn,
      detail: "the moment lies outside the retention window: WAL \(evicted) is not kept")
  }

  private func keyframe(at lsn: LSN) throws -> Keyframe {
    if let keyframe = chain.keyframes(at: lsn).first { return keyframe }
    let damaged = chain.lines.flatMap { contents in
      contents.damages.filter { $0.key.hasPrefix(contents.keys.keyframePrefix) }
    }
    if let first = damaged.min(by: { $0.key < $1.key }) {
      throw HistoryError(
        .keyframeDamaged, operation: "seek on line \(line)", key: first.key, lsn: lsn,
        detail: "no other keyframe serves the moment", cause: first.value)
    }
    let oldest = chain.lines.reversed().lazy.compactMap { $0.countingKeyframes().first }.first
    throw HistoryError(
      .beforeStart, operation: "seek on line \(line)", lsn: lsn,
      detail: oldest.map { "the oldest moment kept is \($0.consistentLSN)" }
        ?? "the line has no keyframe yet")
  }

  // MARK: Records

  /// The end of the last whole record at or below `lsn`.
  func lastRecordEnd(at lsn: LSN) async throws -> LSN {
    var limit = lsn
    while true {
      // A line begins where a whole record of its parent ends.
      if chain.lines.contains(where: { $0.description.startLSN == limit }) { return limit }
      guard limit.rawValue > 0, let piece = chain.piece(holding: LSN(limit.rawValue - 1)) else {
        throw gapError(chain.gaps(in: LSN(limit.rawValue - 1)..<limit).first, at: limit)
      }
      // A record's end may lie after its chunk's: in its padding, or after a segment switch.
      let bound = piece.isCut ? limit : lsn
      if let last = piece.chunk.summary.lastRecordEnd, last <= bound { return last }
      if let start = piece.chunk.summary.firstRecordStart, start < limit,
        let found = try await lastRecordEnd(from: start, to: limit, bound: bound)
      {
        return found
      }
      limit = piece.range.lowerBound
    }
  }

  /// The end of the last record that lies between a record's start and `limit` and ends at or before `bound`.
  private func lastRecordEnd(from start: LSN, to limit: LSN, bound: LSN) async throws -> LSN? {
    var found: LSN?
    func parse(from: LSN) async throws {
      found = nil
      try await self.parse(from: from, to: limit) { record in
        if record.endLSN <= bound { found = record.endLSN }
        return true
      }
    }
    if let near = try await recordStart(near: limit, notBefore: start) {
      do {
        try await parse(from: near)
        if let found { return found }
      } catch let error as HistoryError where error.code == .badWAL {
        // Parsing from a start that is known tells what is bad.
      }
    }
    try await parse(from: start)
    return found
  }

  /// When the last transaction of the stored WAL ended; `nil` where none did.
  public var latestCommitTime: PostgresTimestamp? {
    chain.pieces.lazy.reversed().compactMap(\.chunk.summary.latestTime).first
  }

  /// Refuses a time that may lie in WAL that retention evicted.
  private func checkKept(_ time: PostgresTimestamp, before lsn: LSN) throws {
    guard let evicted = chain.evicted(before: lsn, endingAfter: time) else { return }
    throw HistoryError(
      .beforeStart, operation: "seek on line \(line)", lsn: evicted.lowerBound,
      detail: "the time lies before the retention window: WAL \(evicted) is not kept")
  }

  /// The first record, in WAL order, that ends a transaction later than `time`.
  func firstEnd(after time: PostgresTimestamp) async throws -> FoundEnd? {
    for piece in chain.pieces {
      guard let latest = piece.chunk.summary.latestTime, latest > time,
        let start = try await start(in: piece, after: time)
      else { continue }
      try checkKept(time, before: piece.range.lowerBound)
      var search = EndSearch(after: time)
      try await parse(from: start, to: piece.range.upperBound) { record in
        if piece.isCut, record.endLSN > piece.range.upperBound { return false }
        return search.goesOn(with: record)
      }
      guard let found = search.found else { continue }
      let end =
        if let previous = search.previous { previous } else { try await lastRecordEnd(at: found) }
      return FoundEnd(
        start: found, end: end, searched: start, hasEarlier: search.hasEarlier, drop: search.drop)
    }
    return nil
  }

  /// Where to look in a chunk for the first end of a transaction later than `time`: in a long chunk not at its
  /// beginning.
  private func start(
    in piece: LineChain.Piece, after time: PostgresTimestamp
  ) async throws -> LSN? {
    let first = piece.chunk.summary.firstRecordStart
    do {
      let runs = try await reader(of: piece).runs()
      return runs.first { $0.latestTime.map { $0 > time } ?? false }?.firstRecordStart ?? first
    } catch let error as HistoryError where error.code == .missing {
      return first  // merged meanwhile: reading its WAL finds the other one
    }
  }

  /// Reads the records of a range until `body` answers false.
  /// - Parameter from: a record's start.
  func parse(
    from: LSN, to: LSN, _ body: (WALRecordView) -> Bool
  ) async throws {
    guard let format = PostgresMajor(rawValue: chain.description.major) else {
      throw HistoryError(
        .badWAL, operation: "read WAL of line \(line)", lsn: from,
        detail: "unknown PostgreSQL version \(chain.description.major)")
    }
    var reader = WALStreamReader(
      format: format, startingAtRecord: from, segmentSize: UInt64(chain.description.segmentSize))
    var goesOn = true
    for try await run in readWAL(from: from, to: to) {
      let outcome: WALReadOutcome
      do {
        outcome = try run.bytes.withUnsafeBytes { bytes in
          try reader.feed(bytes, at: run.startLSN) { record in
            if goesOn { goesOn = body(record) }
          }
        }
      } catch {
        // Damage behind the record that ended the search does not concern it.
        if !goesOn { return }
        throw badWAL(at: reader.lastRecordEnd, cause: error)
      }
      if !goesOn { return }
      if case .endOfWAL(let end) = outcome { throw badWAL(at: end, cause: nil) }
    }
  }

  private func badWAL(at lsn: LSN, cause: (any Error)?) -> HistoryError {
    let key = chain.piece(holding: lsn).map {
      chain.lines[$0.line].keys.wal($0.chunk.number).name
    }
    return HistoryError(
      .badWAL, operation: "read WAL record", key: key, lsn: lsn,
      detail: cause == nil ? "zeros where a record should be" : "", cause: cause)
  }
}
