import PostgresFormat

/// A run of verified WAL.
public struct WALBytes: Sendable {
  public var startLSN: LSN
  /// Not empty; at most 256 KiB.
  public var bytes: [UInt8]
  public var endLSN: LSN { startLSN + UInt64(bytes.count) }
}

/// The WAL of a range, in order and without a gap, as it is read from the chunks.
///
/// Ends at the range's end or throws: ``HistoryError`` with code `.gap` (naming the chunks beside
/// it), `.damaged`, `.missing` or `.store`.
public struct WALSequence: AsyncSequence, Sendable {
  public typealias Element = WALBytes
  let history: LineHistory
  let range: Range<LSN>

  public func makeAsyncIterator() -> Iterator { Iterator(history: history, range: range) }

  public struct Iterator: AsyncIteratorProtocol {
    let history: LineHistory
    var range: Range<LSN>
    private var open: (piece: LineChain.Piece, reader: WALChunkReader)?

    init(history: LineHistory, range: Range<LSN>) {
      self.history = history
      self.range = range
    }

    public mutating func next() async throws -> WALBytes? {
      if range.isEmpty { return nil }
      let start = range.lowerBound
      if open == nil || open?.piece.range.contains(start) == false {
        open = try await history.openPiece(at: start)
      }
      guard let (piece, reader) = open else { return nil }
      var bytes: [UInt8]
      do {
        bytes = try await reader.bytes(from: start)
      } catch let error as HistoryError where error.code == .missing {
        // Merged into another chunk since it was opened.
        let (_, fresh) = try await history.openPiece(at: start, afresh: true)
        bytes = try await fresh.bytes(from: start)
        open = nil
      }
      let end = Swift.min(piece.range.upperBound, range.upperBound)
      let wanted = end - start
      if UInt64(bytes.count) > wanted { bytes.removeLast(bytes.count - Int(wanted)) }
      let result = WALBytes(startLSN: start, bytes: bytes)
      range = result.endLSN..<range.upperBound
      return result
    }
  }
}

extension LineHistory {
  /// The WAL bytes `[from, to)` of the line, its ancestors' where it has none of its own.
  public nonisolated func readWAL(from: LSN, to: LSN) -> WALSequence {
    WALSequence(history: self, range: from..<max(from, to))
  }

  /// Opens the chunk that holds the byte at `lsn`.
  ///
  /// - Parameter afresh: refresh first. Also done where the chunk is not there any more.
  func openPiece(
    at lsn: LSN, afresh: Bool = false
  ) async throws -> (LineChain.Piece, WALChunkReader) {
    if afresh { try await refresh() }
    let found = try piece(at: lsn)
    do {
      return (found, try await reader(of: found))
    } catch let error as HistoryError where error.code == .missing && !afresh {
      return try await openPiece(at: lsn, afresh: true)
    }
  }

  private func piece(at lsn: LSN) throws -> LineChain.Piece {
    if let piece = chain.piece(holding: lsn) { return piece }
    if lsn >= chain.uploadedLSN {
      throw HistoryError(
        .afterEnd, operation: "read WAL of line \(line)", lsn: lsn,
        detail: "the store holds it up to \(chain.uploadedLSN)")
    }
    let gap = chain.gaps(in: lsn..<chain.uploadedLSN).first
    throw gapError(gap, at: lsn)
  }

  func gapError(_ gap: WALGap?, at lsn: LSN) -> HistoryError {
    let before = gap?.before.map { "'\($0)'" } ?? "the beginning"
    let after = gap?.after.map { "'\($0)'" } ?? "the end"
    let damaged = damages.compactMap(\.key).map { "'\($0)'" }.joined(separator: ", ")
    return HistoryError(
      .gap, operation: "read WAL of line \(gap?.line ?? line)", key: gap?.before ?? gap?.after,
      lsn: gap?.range.lowerBound ?? lsn,
      detail: "WAL is missing between \(before) and \(after)"
        + (damaged.isEmpty ? "" : "; unreadable: \(damaged)"))
  }
}
