import ObjectStorage
import PostgresFormat

/// A chunk that is being put.
struct ChunkUnderWay: Sendable {
  var number: ObjectNumber
  var endLSN: LSN
  /// The chunk, once it is in the store.
  var stored: WALChunkReference?
  var blockRecords: BlockRecords?
}

/// Chunks that were not stored, as far as the writer knows, and are not stored again yet.
struct WithdrawnChunks: Sendable {
  var first: ObjectNumber
  var endLSN: LSN
}

extension LineWriter {
  /// The number after which readers list; they go on finding withdrawn chunks that became visible: what a reader
  /// has seen of the line never goes again.
  var listedNumber: ObjectNumber {
    guard let first = withdrawn?.first else { return contents.lastChunk }
    return min(contents.lastChunk, ObjectNumber(epoch: first.epoch, sequence: first.sequence - 1))
  }

  /// Where the next chunk begins: the end of what is stored, or under way.
  var appendLSN: LSN { underWay.last?.endLSN ?? uploadedLSN }

  /// Stores a chunk. On return its bytes are durable and ``uploadedLSN`` is its end, or beyond.
  ///
  /// Several may be on their way at once; they count in their order. On throw the chunk does not count, nor do
  /// those that were on their way after it: the same, or longer ones, may be given again.
  /// - Parameter inTurn: a chunk that begins beyond what is stored or under way waits for what comes before it,
  ///   instead of being refused.
  /// - Throws: ``HistoryError``: `.notContiguous` where the chunk does not begin there, `.fenced`, `.store`.
  @discardableResult
  public func appendChunk(_ chunk: WALChunk, inTurn: Bool = false) async throws -> LSN {
    try await waitForTurn(of: chunk, inTurn)
    guard chunk.summary.line == description.id, chunk.summary.startLSN == appendLSN else {
      throw HistoryError(
        .notContiguous, operation: "append chunk to", key: keys.description.name,
        lsn: chunk.summary.startLSN,
        detail: "the line \(description.id) ends at \(appendLSN)")
    }
    let number = takeNumber()
    underWay.append(
      ChunkUnderWay(
        number: number, endLSN: chunk.summary.endLSN, blockRecords: chunk.blockRecords))
    do {
      try await checkOwnership()
      try await didPut(try await put(chunk, number, confirmed: uploadedLSN))
    } catch {
      withdraw(from: number)
      throw error
    }
    await writeManifestIfDue()
    return uploadedLSN
  }

  /// Waits while numbers of merges are taken, and, where it is asked for, for the chunks before.
  private func waitForTurn(of chunk: WALChunk, _ inTurn: Bool) async throws {
    while mergesWaiting > 0 || inTurn && chunk.summary.startLSN > appendLSN {
      try Task.checkCancellation()
      await withTaskCancellationHandler {
        await appendChange()
      } onCancel: {
        Task { await self.resumeAppendWaiters() }
      }
    }
  }

  /// - Parameter confirmed: all that lies below was in the store when the chunk set out.
  private func put(
    _ chunk: WALChunk, _ number: ObjectNumber, confirmed: LSN
  ) async throws -> WALChunkReference {
    let key = keys.wal(number)
    let bytes = try await environment.threads.run {
      try chunk.encoded(key: key, level: 1, confirmed: confirmed)
    }
    try await put(key, .bytes(bytes), "put chunk")
    return WALChunkReference(
      number: number, size: UInt64(bytes.count), summary: chunk.summary)
  }

  /// Counts what is stored without a gap, and waits until that includes this chunk.
  private func didPut(_ stored: WALChunkReference) async throws {
    if let index = underWay.firstIndex(where: { $0.number == stored.number }) {
      underWay[index].stored = stored
      countStored()
    }
    while underWay.contains(where: { $0.number == stored.number }) { await appendChange() }
    guard uploadedLSN >= stored.endLSN else {
      throw HistoryError(
        .store, operation: "append chunk", key: keys.wal(stored.number).name,
        lsn: stored.startLSN, detail: "a chunk before it could not be stored")
    }
  }

  private func countStored() {
    while let chunk = underWay.first, let stored = chunk.stored {
      underWay.removeFirst()
      record(stored)
      uploadedLSN = stored.endLSN
      if let gone = withdrawn, gone.endLSN <= uploadedLSN { withdrawn = nil }
      if let records = chunk.blockRecords { hot.add(records) }
    }
    resumeAppendWaiters()
  }

  /// A chunk that was not stored, and those after it, count no more, whether or not they become visible: their
  /// numbers are used up.
  private func withdraw(from number: ObjectNumber) {
    guard let index = underWay.firstIndex(where: { $0.number == number }) else { return }
    let end = max(underWay[underWay.endIndex - 1].endLSN, withdrawn?.endLSN ?? .invalid)
    withdrawn = WithdrawnChunks(first: withdrawn?.first ?? number, endLSN: end)
    underWay.removeSubrange(index...)
    resumeAppendWaiters()
  }

  /// A number for a chunk that others are merged into, taken while nothing is being appended.
  ///
  /// Readers list what comes after the highest number that they know, or that a manifest names: a chunk that
  /// becomes visible below it is never found, and a collector takes it for left behind.
  func takeNumberOfMerge() async -> ObjectNumber {
    mergesWaiting += 1
    defer {
      mergesWaiting -= 1
      resumeAppendWaiters()
    }
    while !underWay.isEmpty { await appendChange() }
    return takeNumber()
  }

  /// Suspends until what is under way has changed.
  private func appendChange() async {
    await withCheckedContinuation { appendWaiters.append($0) }
  }

  private func resumeAppendWaiters() {
    let waiters = appendWaiters
    appendWaiters = []
    for waiter in waiters { waiter.resume() }
  }
}
