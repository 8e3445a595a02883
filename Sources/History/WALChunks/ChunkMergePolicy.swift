import PostgresFormat

/// Which neighbouring chunks become one.
///
/// Two steps: what capture stores every 300 ms soon becomes chunks of some 16 MiB; what a busy line wrote a while ago,
/// chunks of hundreds, so that a block's records over hours lie in few indices. A chunk is kept or evicted whole, so a
/// long one spans few minutes.
public struct ChunkMergePolicy: Sendable {
  /// Bytes of WAL in a chunk of the first step, at most.
  public var shortBytes: UInt64 = 16 << 20
  /// Of the second step; it makes none of less than an eighth.
  public var longBytes: UInt64 = 512 << 20
  /// Between the transactions of a long chunk, at most.
  public var longSpan: Duration = .seconds(600)
  /// Since a chunk was put, before it becomes part of a long one.
  public var longAge: Duration = .seconds(600)
  /// WAL of chunks from this size on is copied part by part as it is stored.
  public var copiedBytes: UInt64 = 4 << 20
  /// Chunks that become one, at most: each is an open file meanwhile.
  public var sources = 256

  public init() {}

  /// Runs of at least two chunks, oldest first.
  func shortRuns(
    _ spans: [LineContents.Span], isOld: (WALChunkReference) -> Bool
  ) -> [[WALChunkReference]] {
    runs(spans, isMergeable: { $0.summary.byteCount < shortBytes / 2 && isOld($0) }) {
      $0.bytes <= shortBytes && $0.chunks.count <= sources
    }.map(\.run.chunks)
  }

  func longRuns(
    _ spans: [LineContents.Span], isOld: (WALChunkReference) -> Bool
  ) -> [[WALChunkReference]] {
    runs(spans, isMergeable: { $0.summary.byteCount <= longBytes / 2 && isOld($0) }) {
      $0.bytes <= longBytes && $0.chunks.count <= sources && $0.span <= longSpan
    }.compactMap { run, isWhole in
      // No chunk is written again for the sake of a little that followed it, or for what will follow soon.
      let largest = run.chunks.map(\.summary.byteCount).max() ?? 0
      let enough = run.bytes >= (isWhole ? longBytes / 8 : longBytes / 2)
      return enough && largest <= run.bytes / 2 ? run.chunks : nil
    }
  }

  private struct Run {
    var chunks: [WALChunkReference] = []
    var bytes: UInt64 = 0
    private var times: (PostgresTimestamp, PostgresTimestamp)?

    var span: Duration { times.map { $0.1.since($0.0) } ?? .zero }

    func adding(_ chunk: WALChunkReference) -> Run {
      var run = self
      run.chunks.append(chunk)
      run.bytes += chunk.summary.byteCount
      if let earliest = chunk.summary.earliestTime, let latest = chunk.summary.latestTime {
        run.times = (min(times?.0 ?? earliest, earliest), max(times?.1 ?? latest, latest))
      }
      return run
    }

    func isFollowed(by chunk: WALChunkReference) -> Bool {
      guard let last = chunks.last else { return true }
      return last.endLSN == chunk.startLSN && last.summary.timeline == chunk.summary.timeline
        && last.summary.systemIdentifier == chunk.summary.systemIdentifier
    }
  }

  /// - Returns: with each run, whether nothing that follows could have been part of it.
  private func runs(
    _ spans: [LineContents.Span], isMergeable: (WALChunkReference) -> Bool, fits: (Run) -> Bool
  ) -> [(run: Run, isWhole: Bool)] {
    var found: [(run: Run, isWhole: Bool)] = []
    var run = Run()
    func end(isWhole: Bool) {
      if run.chunks.count > 1 { found.append((run, isWhole)) }
      run = Run()
    }
    for span in spans {
      let chunk = span.chunk
      // One that a take-over cut holds bytes that do not count: it stays as it is.
      guard span.endLSN == chunk.endLSN, isMergeable(chunk) else {
        end(isWhole: chunk.summary.byteCount >= shortBytes)
        continue
      }
      if !run.isFollowed(by: chunk) || !fits(run.adding(chunk)) { end(isWhole: true) }
      run = run.adding(chunk)
    }
    end(isWhole: false)
    return found
  }
}
