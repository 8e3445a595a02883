import DurableIO
import ObjectStorage
import PostgresFormat

extension LineWriter {
  /// Replaces runs of chunks by longer ones; see ``ChunkMergePolicy``.
  ///
  /// The new chunk and a manifest that lists it are durable before the old ones are deleted: a
  /// reader that holds an older list finds them missing, and the new one after a refresh. Needs a few
  /// megabytes of memory, and the new chunk's size in the spool directory. What a failure leaves undone, the
  /// next call does; chunks that a crash leaves behind are listed by no manifest and only take space.
  /// - Parameter age: chunks that this writer put less than this ago are left alone.
  /// - Returns: how many chunks were replaced.
  @discardableResult
  public func mergeChunks(
    olderThan age: Duration = .seconds(60), policy: ChunkMergePolicy = ChunkMergePolicy()
  ) async throws -> Int {
    try await mergeGate.run { try await self.mergeOldChunks(age, policy) }
  }

  /// Whether a merge would replace at least `count` small chunks, or make a long one.
  public func isMergeDue(
    olderThan age: Duration, count: Int, policy: ChunkMergePolicy = ChunkMergePolicy()
  ) -> Bool {
    let small = shortRuns(age, policy).reduce(0) { $0 + $1.count }
    return small >= count || !longRuns(age, policy).isEmpty
  }

  private func mergeOldChunks(_ age: Duration, _ policy: ChunkMergePolicy) async throws -> Int {
    try await passOverEvicted()
    var count = 0
    for run in shortRuns(age, policy) { count += try await replace(run, policy, isLong: false) }
    try await deleteReplaced()
    // Each is large: what it replaces goes before the next one is made.
    for run in longRuns(age, policy) {
      count += try await replace(run, policy, isLong: true)
      try await deleteReplaced()
    }
    return count
  }

  private func shortRuns(_ age: Duration, _ policy: ChunkMergePolicy) -> [[WALChunkReference]] {
    policy.shortRuns(contents.spans()) { isOld($0, age) }
  }

  private func longRuns(_ age: Duration, _ policy: ChunkMergePolicy) -> [[WALChunkReference]] {
    policy.longRuns(contents.spans()) { isOld($0, max(age, policy.longAge)) }
  }

  private func isOld(_ chunk: WALChunkReference, _ age: Duration) -> Bool {
    putTimes[chunk.number].map { environment.uptime() - $0 >= age } ?? true
  }

  /// Stores what a run becomes, and lists it in its place.
  private func replace(
    _ run: [WALChunkReference], _ policy: ChunkMergePolicy, isLong: Bool
  ) async throws -> Int {
    try await checkOwnership()
    let merged = try await merge(run, policy, isLong)
    let old = Set(run.map(\.number))
    contents.chunks.removeAll { old.contains($0.number) }
    for number in old { putTimes[number] = nil }
    record(merged)
    replacedChunks += run
    return run.count
  }

  /// A manifest says that they are no part of the line any more; then they go. Not while chunks may have become
  /// visible that the writer does not know of.
  private func deleteReplaced() async throws {
    if replacedChunks.isEmpty || withdrawn != nil { return }
    try await writeManifest()
    try await checkOwnership(now: true)
    while let chunk = replacedChunks.last {
      try await delete(keys.wal(chunk.number))
      replacedChunks.removeLast()
    }
  }

  private func merge(
    _ run: [WALChunkReference], _ policy: ChunkMergePolicy, _ isLong: Bool
  ) async throws -> WALChunkReference {
    let number = await takeNumberOfMerge()
    let (keys, environment) = (keys, environment)
    // One name for all: what a crash leaves is written over by the next merge.
    let path = "\(environment.spoolDirectory)/merged-\(description.id)"
    let made: WALChunkMerge.Result
    do {
      made = try await environment.threads.run {
        try spoolChunk(run, as: keys.wal(number), policy, isLong, environment, path)
      }
    } catch let error as FileError {
      throw HistoryError(
        .localFile, operation: "merge chunks of", key: keys.description.name, cause: error)
    }
    do {
      try await put(keys.wal(number), .file(path: path), "put chunk")
    } catch {
      // The put's error is the one to report; the file is written over by the next merge.
      try? await removeSpooled(path)
      throw error
    }
    try await removeSpooled(path)
    return WALChunkReference(number: number, size: made.size, summary: made.summary)
  }

  private func removeSpooled(_ path: String) async throws {
    let fileSystem = environment.fileSystem
    do {
      try await environment.threads.run {
        try fileSystem.unlink(path, operation: "remove merged chunk")
      }
    } catch {
      throw HistoryError(
        .localFile, operation: "merge chunks of", key: keys.description.name, cause: error)
    }
  }
}

/// Writes what chunks become into a local file. Blocks its thread.
private func spoolChunk(
  _ run: [WALChunkReference], as key: ObjectKey, _ policy: ChunkMergePolicy, _ isLong: Bool,
  _ environment: HistoryEnvironment, _ path: String
) throws -> WALChunkMerge.Result {
  let fileSystem = environment.fileSystem
  let keys = LineKeys(line: run[0].summary.line)
  let sources = try run.map { chunk in
    let source = try openObject(
      keys.wal(chunk.number), size: chunk.size, store: environment.store, fileSystem: fileSystem)
    return try OpenWALChunk(source, expected: chunk.summary)
  }
  try fileSystem.makeDirectory(environment.spoolDirectory, operation: "merge chunks")
  let file = try fileSystem.open(path, .createReadWrite, operation: "merge chunks")
  defer { file.close() }
  try file.truncate(to: 0, operation: "merge chunks")
  var written: UInt64 = 0
  var merge = WALChunkMerge(sources: sources, key: key, copiedBytes: policy.copiedBytes) { bytes in
    try file.write(bytes, at: written, operation: "merge chunks")
    written += UInt64(bytes.count)
  }
  merge.namesRuns = isLong
  return try merge.run()
}
