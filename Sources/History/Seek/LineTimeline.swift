import ObjectStorage
import PostgresFormat

/// What happened on a line, by the minute, in order of WAL.
public struct LineTimeline: Sendable {
  /// One minute of one chunk. A minute can come several times, and minutes do not ascend strictly:
  /// times of transactions do not.
  public struct Minute: Hashable, Sendable {
    /// Minutes since 2000-01-01 00:00 UTC.
    public var minute: Int64
    /// About where the minute's WAL begins.
    public var lsn: LSN
    public var commits: UInt64
    public var aborts: UInt64
    public var walBytes: UInt64
    public var deletedRows: UInt64
  }

  /// Rows of one relation that went within one minute.
  public struct Deletion: Hashable, Sendable {
    public var minute: Int64
    public var relation: RelFileLocator
    public var rows: UInt64
    /// The WAL in which the deletes lie.
    public var range: Range<LSN>
  }

  public var minutes: [Minute] = []
  /// Files that came, went or were cut.
  public var changes: [WALActivity.FileChange] = []
  /// Those of at least ``TimelineReader/leastRows`` rows.
  public var deletions: [Deletion] = []
  /// All that the line can be opened from.
  public var keyframes: [Keyframe] = []
}

/// Reads timelines from the index that WAL chunks carry, and remembers what each chunk said: a chunk is
/// immutable, so that only new ones are read again.
///
/// *State and invariants*: 1. A digest is of one object and never changes. 2. At most ``limit`` digests
/// are kept; of objects that a chain no longer names, none after its next reading when it is full.
///
/// *Concurrency*: an actor; chunks are read ``lanes`` at a time, of the same object perhaps twice.
public actor TimelineReader {
  /// Fewer deleted rows of a relation in a minute are counted, but not told one by one.
  public static let leastRows: UInt64 = 20
  private static let lanes = 16
  private let limit: Int

  private struct Key: Hashable {
    var line: LineID
    var number: ObjectNumber
    /// Where it is cut, or its end.
    var end: LSN
  }

  fileprivate struct Digest: Sendable {
    var minutes: [LineTimeline.Minute]
    var changes: [WALActivity.FileChange]
    var deletions: [LineTimeline.Deletion]
  }

  private var digests: [Key: Digest] = [:]

  /// - Parameter limit: chunks that are remembered; one takes a few kilobytes at most.
  public init(limit: Int = 50_000) { self.limit = limit }

  /// What happened in `[from, to)` on the line and its ancestors.
  /// - Throws: ``HistoryError`` naming the chunk that cannot be read.
  public func timeline(of history: LineHistory, from: LSN, to: LSN) async throws -> LineTimeline {
    let chain = await history.chain
    let pieces = chain.pieces.filter { $0.range.overlaps(from..<max(from, to)) }
    func key(_ piece: LineChain.Piece) -> Key {
      Key(
        line: chain.lines[piece.line].line, number: piece.chunk.number,
        end: piece.range.upperBound)
    }
    try await read(pieces.filter { digests[key($0)] == nil }, history, key)
    var result = LineTimeline()
    for piece in pieces {
      guard let digest = digests[key(piece)] else { continue }
      // What lies behind a cut is another line's.
      let range = piece.range.clamped(to: from..<max(from, to))
      // A minute may begin where its chunk ends: bytes are booked before the commit that ends them.
      let isWhole = range.upperBound == piece.range.upperBound
      result.minutes += digest.minutes.filter { isWhole || $0.lsn < range.upperBound }
      result.changes += digest.changes.filter { range.contains($0.lsn) }
      result.deletions += digest.deletions.filter { $0.range.lowerBound < range.upperBound }
    }
    result.keyframes = chain.keyframes(at: to)
    if digests.count > limit {
      let named = Set(pieces.map(key))
      digests = digests.filter { named.contains($0.key) }
    }
    return result
  }

  private func read(
    _ pieces: [LineChain.Piece], _ history: LineHistory, _ key: (LineChain.Piece) -> Key
  ) async throws {
    try await withThrowingTaskGroup(of: (LineChain.Piece, Digest).self) { group in
      var waiting = pieces.makeIterator()
      for _ in 0..<Self.lanes {
        guard let piece = waiting.next() else { break }
        group.addTask { (piece, try await Self.digest(of: piece, history)) }
      }
      while let (piece, digest) = try await group.next() {
        digests[key(piece)] = digest
        guard let piece = waiting.next() else { continue }
        group.addTask { (piece, try await Self.digest(of: piece, history)) }
      }
    }
  }

  private static func digest(
    of piece: LineChain.Piece, _ history: LineHistory
  ) async throws -> Digest {
    let activity = try await history.reader(of: piece).activity()
    let summary = piece.chunk.summary
    if piece.isCut { return try await history.digest(ofCut: piece, activity) }
    var digest = Digest(minutes: [], changes: activity.fileChanges, deletions: [])
    var position = summary.startLSN
    for minute in activity.minutes {
      let end = min(position + minute.walBytes, summary.endLSN)
      digest.minutes.append(
        LineTimeline.Minute(
          minute: minute.minute, lsn: position, commits: minute.commits, aborts: minute.aborts,
          walBytes: minute.walBytes, deletedRows: minute.heapDeletes.values.reduce(0, +)))
      for (relation, rows) in minute.heapDeletes where rows >= leastRows {
        digest.deletions.append(
          LineTimeline.Deletion(
            minute: minute.minute, relation: relation, rows: rows,
            range: summary.startLSN..<summary.endLSN))
      }
      position = end
    }
    return digest
  }
}

extension LineHistory {
  /// The transaction that deleted most rows of a relation within a range.
  public struct DeletingTransaction: Hashable, Sendable {
    public var xid: UInt32
    public var rows: UInt64
    /// Start of the record that committed it: up to there the rows are there for everybody.
    public var commitLSN: LSN
    public var time: PostgresTimestamp
  }

  /// How far behind `range` the commit is looked for; bytes.
  private static let commitSearch: UInt64 = 64 << 20

  /// Reads the WAL of the range and finds who deleted most rows of `relation`; `nil` where nobody
  /// did, or where the commit lies more than 64 MiB behind.
  public func mostDeleting(
    from relation: RelFileLocator, in range: Range<LSN>
  ) async throws -> DeletingTransaction? {
    let end = min(range.upperBound + Self.commitSearch, chain.uploadedLSN)
    guard let start = firstRecord(from: range.lowerBound), start < end else { return nil }
    var rows: [UInt32: UInt64] = [:]
    var found: DeletingTransaction?
    try await parse(from: start, to: end) { record in
      if record.startLSN < range.upperBound {
        if case .delete = record.heapOperation, record.blockReferences.first?.locator == relation {
          rows[record.xid, default: 0] += 1
        }
      }
      guard record.commitsTransaction, let time = record.transactionEndTime, !rows.isEmpty,
        let transaction = try? record.transactionEnd()
      else { return true }
      // A record whose body does not parse ends no transaction that could be named.
      let ended = [transaction.xid] + transaction.subtransactions
      let sum = ended.reduce(UInt64(0)) { $0 + (rows.removeValue(forKey: $1) ?? 0) }
      if sum > found?.rows ?? 0 {
        found = DeletingTransaction(
          xid: transaction.xid, rows: sum, commitLSN: record.startLSN, time: time)
      }
      return record.startLSN < range.upperBound || !rows.isEmpty && found == nil
    }
    return found
  }

  /// Where the first record begins that ends at or behind `lsn`.
  private func firstRecord(from lsn: LSN) -> LSN? {
    chain.pieces.first { $0.range.upperBound > lsn && $0.chunk.summary.firstRecordStart != nil }?
      .chunk.summary.firstRecordStart
  }
}

extension LineHistory {
  /// Of a chunk whose end is another line's: its own records are counted.
  fileprivate func digest(
    ofCut piece: LineChain.Piece, _ activity: WALActivity
  ) async throws -> TimelineReader.Digest {
    let (summary, end) = (piece.chunk.summary, piece.range.upperBound)
    var digest = TimelineReader.Digest(
      minutes: [], changes: activity.fileChanges.filter { $0.lsn < end }, deletions: [])
    guard let first = activity.minutes.first, let start = summary.firstRecordStart, start < end
    else { return digest }
    func minute(_ number: Int64, _ lsn: LSN) -> LineTimeline.Minute {
      LineTimeline.Minute(
        minute: number, lsn: lsn, commits: 0, aborts: 0, walBytes: 0, deletedRows: 0)
    }
    var now = minute(first.minute, start)
    var rows: [RelFileLocator: UInt64] = [:]
    func close() {
      digest.minutes.append(now)
      for (relation, count) in rows where count >= TimelineReader.leastRows {
        digest.deletions.append(
          LineTimeline.Deletion(
            minute: now.minute, relation: relation, rows: count, range: summary.startLSN..<end))
      }
      rows = [:]
    }
    try await parse(from: start, to: end) { record in
      now.walBytes += record.endLSN - record.startLSN
      if case .delete = record.heapOperation, let block = record.blockReferences.first {
        rows[block.locator, default: 0] += 1
        now.deletedRows += 1
      }
      guard let time = record.transactionEndTime else { return true }
      let number = WALChunkBuilder.minute(of: time)
      if number != now.minute {
        close()
        now = minute(number, record.startLSN)
      }
      if record.commitsTransaction { now.commits += 1 } else { now.aborts += 1 }
      return true
    }
    close()
    return digest
  }
}
