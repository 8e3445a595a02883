import PostgresFormat

/// A tablespace that a record of a line's WAL makes.
public struct TablespaceCreation: Hashable, Sendable {
  public var oid: UInt32
  /// Its directory on the server that wrote the WAL.
  public var path: String
  /// Where the record begins.
  public var lsn: LSN
  /// When the last transaction before it ended, where one did.
  public var precedingTime: PostgresTimestamp?
}

extension LineHistory {
  /// The first tablespace that records beginning in `[from, to)` make; `nil` where none does.
  ///
  /// Cost: reads the WAL of chunks that say that they hold a record which pages do not show; no other.
  /// - Throws: ``HistoryError``.
  public func tablespaceCreation(from: LSN, to: LSN) async throws -> TablespaceCreation? {
    var time: PostgresTimestamp?
    for piece in chain.pieces where piece.range.lowerBound < to {
      let summary = piece.chunk.summary
      defer { time = summary.latestTime ?? time }
      guard piece.range.upperBound > from, let hard = summary.lastHardLSN, hard >= from,
        let start = summary.firstRecordStart
      else { continue }
      if let found = try await tablespaceCreation(in: piece, start: start, from..<to, after: time) {
        return found
      }
    }
    return nil
  }

  private func tablespaceCreation(
    in piece: LineChain.Piece, start: LSN, _ range: Range<LSN>, after time: PostgresTimestamp?
  ) async throws -> TablespaceCreation? {
    var time = time
    var found: TablespaceCreation?
    var failure: (any Error)?
    try await parse(from: start, to: piece.range.upperBound) { record in
      if let ended = record.transactionEndTime { time = ended }
      guard record.resourceManager == .tablespace, range.contains(record.startLSN) else {
        return true
      }
      do {
        guard case .tablespaceCreate(let oid, let path) = try record.content() else { return true }
        found = TablespaceCreation(
          oid: oid, path: path, lsn: record.startLSN, precedingTime: time)
      } catch { failure = error }
      return false
    }
    if let failure { throw failure }
    return found
  }
}
