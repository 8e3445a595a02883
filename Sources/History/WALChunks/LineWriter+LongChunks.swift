import DurableIO
import ObjectStorage
import PostgresFormat

/// When merged chunks become a long one.
public struct LongChunkRule: Sendable {
  /// Bytes of WAL of a chunk that goes into a long one, at least.
  public var least: UInt64
  /// Bytes of WAL of a long chunk, at most. Three quarters of it must come together, so that WAL is
  /// rewritten once more and no oftener.
  public var limit: UInt64

  public init(least: UInt64 = LineWriter.mergedChunkBytes / 2, limit: UInt64 = 64 << 20) {
    self.least = least
    self.limit = limit
  }
}

extension LineWriter {
  /// Whether ``mergeLongChunks(olderThan:_:)`` would replace chunks now.
  public func hasLongRun(
    olderThan age: Duration, _ rule: LongChunkRule = LongChunkRule()
  ) -> Bool {
    !longRuns(age, rule).isEmpty
  }

  /// Replaces runs of merged chunks by long ones, so that a block's records of an hour are found in few look-ups.
  ///
  /// As ``mergeChunks(olderThan:)``, but the WAL goes through the spool directory, and memory is needed for the
  /// block indices alone: some 40 MB.
  /// - Parameter age: chunks that this writer put less than this ago are left alone.
  /// - Returns: how many chunks were replaced.
  @discardableResult
  public func mergeLongChunks(
    olderThan age: Duration, _ rule: LongChunkRule = LongChunkRule()
  ) async throws -> Int {
    try await mergeGate.run { try await self.mergeLongRuns(age, rule) }
  }

  private func longRuns(_ age: Duration, _ rule: LongChunkRule) -> [[WALChunkReference]] {
    chunkRuns(olderThan: age, of: rule.least..<rule.limit / 2, limit: rule.limit).filter {
      $0.count > 1 && $0[$0.count - 1].endLSN - $0[0].startLSN >= rule.limit / 4 * 3
    }
  }

  private func mergeLongRuns(_ age: Duration, _ rule: LongChunkRule) async throws -> Int {
    var count = 0
    try await passOverEvicted()
    for run in longRuns(age, rule) {
      try await checkOwnership()
      replace(run, with: try await putLong(run))
      replacedChunks += run
      count += run.count
    }
    try await deleteReplacedChunks()
    return count
  }

  private func putLong(_ run: [WALChunkReference]) async throws -> WALChunkReference {
    let number = try await takeNumberOfMerge()
    let key = keys.wal(number)
    let path = "\(environment.spoolDirectory)/chunk-\(description.id)-\(number)"
    let fileSystem = environment.fileSystem
    let directory = environment.spoolDirectory
    var spool = try await environment.threads.run {
      try fileSystem.makeDirectory(directory, operation: "merge WAL chunks")
      return ChunkSpool(
        key: key,
        file: try fileSystem.open(path, .createReadWrite, operation: "merge WAL chunks"))
    }
    do {
      for chunk in run { spool = try await append(chunk, to: spool) }
      spool = try await environment.threads.run { [spool] in
        var spool = spool
        try spool.finish()
        return spool
      }
      try await put(key, .file(path: path), "put chunk")
      try await environment.threads.run { [spool] in
        spool.file.close()
        try fileSystem.unlink(path, operation: "merge WAL chunks")
      }
    } catch {
      spool.file.close()
      // The first error is the one to report; a leftover is written over by the next attempt, or goes with
      // the spool directory.
      try? fileSystem.unlink(path, operation: "merge WAL chunks")
      throw error
    }
    return WALChunkReference(number: number, size: spool.size, summary: spool.summary!)
  }

  private func append(
    _ chunk: WALChunkReference, to spool: ChunkSpool
  ) async throws -> ChunkSpool {
    let reader = try await WALChunkReader(
      keys.wal(chunk.number), size: chunk.size, store: environment.store)
    var spool = spool
    var lsn = chunk.startLSN
    while lsn < chunk.endLSN {
      let bytes = try await reader.bytes(from: lsn)
      spool = try await environment.threads.run { [spool] in
        var spool = spool
        try spool.append(bytes)
        return spool
      }
      lsn = lsn + UInt64(bytes.count)
    }
    spool.append(
      summary: reader.summary, try await reader.activity(), try await reader.blockRecords())
    return spool
  }
}

/// The object of a chunk, written to a file as its WAL comes.
private struct ChunkSpool: Sendable {
  let file: any OpenFile
  private var envelope: EnvelopeWriter
  private var written: UInt64 = 0
  private(set) var summary: WALChunkSummary?
  private var runs: [WALChunkSummary] = []
  private var activity: WALActivity?
  /// `nil` where a chunk had none: then the whole has none.
  private var records: BlockRecords?

  init(key: ObjectKey, file: any OpenFile) {
    self.file = file
    envelope = EnvelopeWriter(kind: .walChunk, key: key)
  }

  /// Bytes of the object so far.
  var size: UInt64 { written }

  mutating func append(_ wal: [UInt8]) throws {
    try wal.withUnsafeBytes { wal in
      for start in stride(from: 0, to: wal.count, by: WALChunk.partSize) {
        let end = min(start + WALChunk.partSize, wal.count)
        try envelope.addPart(
          type: WALChunkPartType.bytes, UnsafeRawBufferPointer(rebasing: wal[start..<end]))
      }
    }
    try drain()
  }

  mutating func append(
    summary next: WALChunkSummary, _ nextActivity: WALActivity, _ nextRecords: BlockRecords?
  ) {
    runs.append(next)
    guard summary != nil else {
      (summary, activity, records) = (next, nextActivity, nextRecords)
      return
    }
    summary?.append(next)
    activity?.append(nextActivity)
    if let nextRecords { records?.append(nextRecords) } else { records = nil }
  }

  /// Adds index, activity and summary, as ``WALChunk/encoded(key:level:partSize:)`` does.
  mutating func finish() throws {
    guard let summary, let activity else { preconditionFailure("a chunk of no chunks") }
    if let records { try envelope.addBlockIndex(records, base: summary.recordBase) }
    try envelope.addPart(type: WALChunkPartType.runs, WALChunkSummary.encode(runs))
    try envelope.addPart(type: WALChunkPartType.activity, activity.encoded)
    var writer = BinaryWriter()
    summary.encode(to: &writer)
    try envelope.addPart(type: WALChunkPartType.summary, writer.bytes)
    try envelope.finish()
    try drain()
  }

  private mutating func drain() throws {
    let offset = written
    var count = 0
    try envelope.drain {
      try file.write($0, at: offset, operation: "merge WAL chunks")
      count = $0.count
    }
    written += UInt64(count)
  }
}
