import PostgresFormat

/// A record of a line's WAL beyond which a server elsewhere cannot be followed.
public struct FollowedEnd: Hashable, Sendable {
  public enum Cause: Hashable, Sendable {
    /// It makes a tablespace, in a directory of the server that wrote the WAL.
    case tablespace(oid: UInt32, path: String)
    /// The server writes with `wal_level` minimal from there on: what is loaded in bulk is not in its WAL.
    case minimalWAL
  }

  public var cause: Cause
  /// Where the record begins.
  public var lsn: LSN
  /// When the last transaction before it ended, where one did.
  public var precedingTime: PostgresTimestamp?
}

extension LineHistory {
  /// The first record beginning in `[from, to)` that a following ends at; `nil` where there is none.
  ///
  /// Cost: reads the WAL of chunks that say that they hold a record which pages do not show; no other.
  /// - Throws: ``HistoryError``.
  public func followedEnd(from: LSN, to: LSN) async throws -> FollowedEnd? {
    var time: PostgresTimestamp?
    for piece in chain.pieces where piece.range.lowerBound < to {
      let summary = piece.chunk.summary
      defer { time = summary.latestTime ?? time }
      guard piece.range.upperBound > from, let hard = summary.lastHardLSN, hard >= from,
        let start = summary.firstRecordStart
      else { continue }
      if let found = try await followedEnd(in: piece, start: start, from..<to, after: time) {
        return found
      }
    }
    return nil
  }

  private func followedEnd(
    in piece: LineChain.Piece, start: LSN, _ range: Range<LSN>, after time: PostgresTimestamp?
  ) async throws -> FollowedEnd? {
    var time = time
    var found: FollowedEnd?
    var failure: (any Error)?
    try await parse(from: start, to: piece.range.upperBound) { record in
      if let ended = record.transactionEndTime { time = ended }
      guard range.contains(record.startLSN) else { return true }
      do {
        guard let cause = try FollowedEnd.Cause(record) else { return true }
        found = FollowedEnd(cause: cause, lsn: record.startLSN, precedingTime: time)
      } catch { failure = error }
      return false
    }
    if let failure { throw failure }
    return found
  }
}

extension FollowedEnd.Cause {
  /// `nil` for all other records.
  fileprivate init?(_ record: WALRecordView) throws {
    if try record.beginsMinimalWAL() {
      self = .minimalWAL
      return
    }
    guard record.resourceManager == .tablespace,
      case .tablespaceCreate(let oid, let path) = try record.content()
    else { return nil }
    self = .tablespace(oid: oid, path: path)
  }
}
