import DurableIO
import Foundation
import ObjectStorage
import PostgresFormat
import Synchronization

/// Finds the records that bring a block to a moment, by the block indices of the WAL chunks.
///
/// ## Purpose
/// Page-level redo: what is read instead of a tail's whole WAL.
///
/// ## State and invariants
/// 1. A chain is whole or an error: where a chunk, a part of its index or its WAL cannot be read,
///    the error names the object.
/// 2. Every record given out was found whole, has a verified CRC, and touches the block as the
///    index says.
/// 3. Chunks that were merged into others meanwhile are found by listing anew, once a call.
///
/// ## Concurrency
/// Safe from many threads. Calls block, also on the store, and must not be made on the cooperative
/// pool.
///
/// ## Not guarded here
/// Deletion by retention: whoever opens a moment holds a lease on it. Memory beyond the cache:
/// fences and cuts of the chunks opened (some hundred bytes a megabyte of WAL) and one descriptor
/// for each chunk.
public final class ChainReader: Sendable {
  /// What may be asked for.
  public let range: Range<LSN>
  let cache: ChainCache
  private let history: LineHistory
  private let storage: LayerStorage
  private let current: Mutex<ChainSnapshot>

  /// Opens the WAL `[from, to)` of a line and its ancestors, as the last refresh found it. Reads
  /// nothing yet.
  ///
  /// - Throws: ``HistoryError`` with code `.gap` or `.afterEnd` where WAL of the range is missing.
  public static func open(
    _ history: LineHistory, from: LSN, to: LSN, storage: LayerStorage, cache: ChainCache
  ) async throws -> ChainReader {
    let chain = await history.chain
    try await check(chain, history, from..<to)
    return ChainReader(history, chain, from..<to, storage, cache)
  }

  private init(
    _ history: LineHistory, _ chain: LineChain, _ range: Range<LSN>, _ storage: LayerStorage,
    _ cache: ChainCache
  ) {
    self.history = history
    self.range = range
    self.storage = storage
    self.cache = cache
    current = Mutex(ChainSnapshot(chain, range: range, storage: storage))
  }

  private static func check(
    _ chain: LineChain, _ history: LineHistory, _ range: Range<LSN>
  ) async throws {
    guard range.upperBound <= chain.uploadedLSN || range.isEmpty else {
      throw HistoryError(
        .afterEnd, operation: "read chains of line \(history.line)", lsn: range.upperBound,
        detail: "the store holds WAL up to \(chain.uploadedLSN)")
    }
    if !range.isEmpty, let gap = chain.gaps(in: range).first {
      throw await history.gapError(gap, at: range.lowerBound)
    }
  }

  /// The records that touch a block and start at or after `from` and end at or before `to`, from
  /// the last on that makes all before it unnecessary.
  ///
  /// - Parameter from: a record's start, such as a keyframe's redo LSN.
  /// - Parameter to: the moment; within ``range``, as `from`.
  /// - Throws: ``HistoryError``: `.damaged`, `.badWAL`, `.missing`, `.gap`, `.store`.
  /// - Complexity: one part of the index in each chunk of the range, newest first, and the parts of
  ///   WAL that the records lie in.
  public func chain(of target: BlockKey, from: LSN, to: LSN) throws -> PageChain {
    try chains(of: [target], from: from, to: to)[0]
  }

  /// As ``chain(of:from:to:)`` for many blocks; each part is read once where the cache holds it
  /// that long.
  ///
  /// Memory for all of the chains together: the caller bounds the number of targets, or of records.
  /// - Parameters:
  ///   - recordLimit: where the chains have more records together, only those of the first targets are given, at least
  ///     one; `targets` must then be in ascending order.
  ///   - byteLimit: the same for the records' bytes; counts with `recordLimit` only.
  /// - Returns: in the order of `targets`.
  public func chains(
    of targets: [BlockKey], from: LSN, to: LSN, recordLimit: Int = .max, byteLimit: Int = .max
  ) throws -> [PageChain] {
    precondition(
      from >= range.lowerBound && to <= range.upperBound, "\(from)-\(to) lies outside \(range)")
    return try withSnapshot { snapshot in
      var lookup = try ChainLookup(snapshot, cache, from..<max(from, to))
      return try lookup.chains(of: targets, recordLimit: recordLimit, byteLimit: byteLimit)
    }
  }

  /// Chunks that are opened ahead of the first read, and requests at a time.
  private static let warming = (chunks: 96, indexBytes: 24 << 20, requests: 8)

  /// Opens the newest chunks of a far store with their indices, several at a time: the first chain looks into all of
  /// them, one after the other. Returns at once; what fails shows when a chain is read.
  public func warm() {
    let snapshot = current.withLock { $0 }
    let places = snapshot.pieces.indices.suffix(ChainReader.warming.chunks)
    guard let first = places.first, storage.store.localFile(snapshot.key(ofPiece: first)) == nil
    else { return }
    // The newest first, as many as the cache has room for.
    let rest = Mutex((place: places.upperBound, indexBytes: ChainReader.warming.indexBytes))
    for _ in 0..<ChainReader.warming.requests {
      Thread.detachNewThread { [cache] in
        while true {
          let place = rest.withLock { rest -> Int? in
            guard rest.place > first, rest.indexBytes > 0 else { return nil }
            rest.place -= 1
            return rest.place
          }
          guard let place else { return }
          let chunk = try? snapshot.indexed(place, cache)
          rest.withLock { $0.indexBytes -= chunk?.stored.indexBytes ?? 0 }
        }
      }
    }
  }

  /// The blocks that records of a range touch, ascending and each once; reads indices only.
  ///
  /// Blocks of the visibility map whose bits are cleared are among them, and blocks that went away
  /// later. Where `to` lies inside a record, that record's blocks may be, too.
  /// - Parameter body: answers whether to go on.
  public func blocksTouched(
    from: LSN, to: LSN, _ body: (BlockKey) throws -> Bool
  ) throws {
    precondition(
      from >= range.lowerBound && to <= range.upperBound, "\(from)-\(to) lies outside \(range)")
    var last: BlockKey?
    try withSnapshot { snapshot in
      var merge = try TouchedBlocks(snapshot, cache, from..<max(from, to), after: last)
      while let key = try merge.next() {
        last = key
        if try !body(key) { return }
      }
    }
  }

  /// Runs `body`, once more with a fresh listing where an object is not there any more.
  func withSnapshot<Result>(_ body: (ChainSnapshot) throws -> Result) throws -> Result {
    let snapshot = current.withLock { $0 }
    do {
      return try body(snapshot)
    } catch let error as HistoryError where error.code == .missing {
      return try body(try refreshed(after: snapshot))
    }
  }

  private func refreshed(after snapshot: ChainSnapshot) throws -> ChainSnapshot {
    let (history, range) = (history, range)
    let chain = try waitFor {
      try await history.refresh()
      let chain = await history.chain
      try await ChainReader.check(chain, history, range)
      return chain
    }
    let fresh = ChainSnapshot(chain, range: range, storage: storage, before: snapshot)
    current.withLock { $0 = fresh }
    return fresh
  }
}
