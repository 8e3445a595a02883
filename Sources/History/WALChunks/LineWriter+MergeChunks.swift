import ObjectStorage
import PostgresFormat

extension LineWriter {
  /// Bytes of WAL in a merged chunk, at most.
  public static let mergedChunkBytes: UInt64 = 16 << 20

  /// Replaces runs of small chunks by chunks of up to 16 MiB of WAL.
  ///
  /// The new chunk and a manifest that lists it are durable before the old ones are deleted: a
  /// reader that holds an older list finds them missing, and the new one after a refresh. Needs
  /// memory for about two merged chunks. What a failure leaves undone, the next call does; chunks
  /// that a crash leaves behind are listed by no manifest and only take space.
  /// - Parameter age: chunks that this writer put less than this ago are left alone.
  /// - Returns: how many chunks were replaced.
  @discardableResult
  public func mergeChunks(olderThan age: Duration = .seconds(60)) async throws -> Int {
    try await mergeGate.run { try await self.mergeOldChunks(age) }
  }

  /// Chunks that ``mergeChunks(olderThan:)`` would replace now.
  public func mergeableChunks(olderThan age: Duration = .seconds(60)) -> Int {
    chunkRuns(olderThan: age).reduce(0) { $0 + $1.count }
  }

  private func mergeOldChunks(_ age: Duration) async throws -> Int {
    var count = 0
    try await passOverEvicted()
    for run in chunkRuns(olderThan: age) {
      try await checkOwnership()
      var whole = try await read(run[0])
      for chunk in run.dropFirst() { whole.append(try await read(chunk)) }
      let merged = try await put(whole, as: try await takeNumberOfMerge(), level: 1)
      replace(run, with: merged)
      replacedChunks += run
      count += run.count
    }
    try await deleteReplacedChunks()
    return count
  }

  /// Lists the new chunks, then deletes what they stand for.
  func deleteReplacedChunks() async throws {
    if replacedChunks.isEmpty { return }
    try await writeManifest()
    try await checkOwnership(now: true)
    while let chunk = replacedChunks.last {
      try await delete(keys.wal(chunk.number))
      replacedChunks.removeLast()
    }
  }

  private func read(_ chunk: WALChunkReference) async throws -> WALChunk {
    let reader = try await WALChunkReader(
      keys.wal(chunk.number), size: chunk.size, store: environment.store)
    return try await reader.readAll()
  }

  private func chunkRuns(olderThan age: Duration) -> [[WALChunkReference]] {
    chunkRuns(
      olderThan: age, of: 0..<LineWriter.mergedChunkBytes / 2, limit: LineWriter.mergedChunkBytes
    ).filter { $0.count > 1 }
  }

  /// Neighbouring chunks that are old enough and of a size, in runs that do not reach past `limit`.
  /// - Parameter sizes: bytes of WAL of a chunk.
  func chunkRuns(
    olderThan age: Duration, of sizes: Range<UInt64>, limit: UInt64
  ) -> [[WALChunkReference]] {
    let now = environment.uptime()
    var runs: [[WALChunkReference]] = []
    var run: [WALChunkReference] = []
    func endRun() {
      if !run.isEmpty { runs.append(run) }
      run = []
    }
    for span in contents.spans() {
      let chunk = span.chunk
      // One that a take-over cut holds bytes that do not count: it stays as it is.
      let isMergeable =
        span.endLSN == chunk.endLSN && sizes.contains(chunk.summary.byteCount)
        && (putTimes[chunk.number].map { now - $0 >= age } ?? true)
      guard isMergeable else {
        endRun()
        continue
      }
      if let first = run.first, let last = run.last {
        let fits = chunk.endLSN - first.startLSN <= limit
        let follows =
          last.endLSN == chunk.startLSN && last.summary.timeline == chunk.summary.timeline
          && last.summary.systemIdentifier == chunk.summary.systemIdentifier
        if !fits || !follows { endRun() }
      }
      run.append(chunk)
    }
    endRun()
    return runs
  }

  func replace(_ run: [WALChunkReference], with merged: WALChunkReference) {
    let old = Set(run.map(\.number))
    contents.chunks.removeAll { old.contains($0.number) }
    for number in old { putTimes[number] = nil }
    record(merged)
  }
}
