import ObjectStorage
import PostgresFormat

/// A line as its readers see it: keyframes and WAL, its ancestors' included.
///
/// ## Purpose
/// Finds moments, and reads the WAL that leads to them.
///
/// ## State and invariants
/// 1. What it knows is what the store held at the last ``refresh()``; objects are immutable, so
///    what it found stays right.
/// 2. An object that was merged into another meanwhile is found again by a refresh, once, when a
///    read misses it.
/// 3. Every byte given out was checked; where that fails, the error names the object.
///
/// ## Concurrency
/// An actor; reads of several callers interleave. Nothing blocks its thread.
///
/// ## Not guarded here
/// Deletion by retention: whoever opens a moment holds a lease on it.
public actor LineHistory {
  public nonisolated let line: LineID
  nonisolated let store: any ObjectStore
  private(set) var chain: LineChain

  init(chain: LineChain, store: any ObjectStore) {
    self.chain = chain
    self.store = store
    line = chain.description.id
  }

  /// Opens a line and its ancestors.
  /// - Throws: ``HistoryError``: `.unknownLine`, `.damaged` where the line's description or an
  ///   owner
  ///   cannot be read, `.store`.
  public static func open(_ line: LineID, store: any ObjectStore) async throws -> LineHistory {
    LineHistory(chain: try await loadChain(from: line, known: [:], store), store: store)
  }

  private static func loadChain(
    from line: LineID, known: [LineID: LineContents], _ store: any ObjectStore
  ) async throws -> LineChain {
    var lines: [LineContents] = []
    var next: LineID? = line
    while let line = next {
      guard !lines.contains(where: { $0.line == line }) else {
        throw HistoryError(
          .damaged, operation: "open line", key: LineKeys(line: line).description.name,
          detail: "the line is its own ancestor")
      }
      var contents: LineContents
      if let before = known[line] {
        contents = before
        try await contents.refresh(store: store)
      } else {
        contents = try await .load(line, store: store)
      }
      lines.append(contents)
      next = contents.description.parent?.line
    }
    return LineChain(lines: lines)
  }

  /// Looks for what has come since.
  public func refresh() async throws {
    let known = Dictionary(uniqueKeysWithValues: chain.lines.map { ($0.line, $0) })
    chain = try await LineHistory.loadChain(from: line, known: known, store)
  }

  public var description: LineDescription { chain.description }
  /// The line and its ancestors.
  public var lineage: [LineDescription] { chain.lines.map(\.description) }
  /// The end of what the store holds.
  public var uploadedLSN: LSN { chain.uploadedLSN }
  /// Of the line itself, in order of their consistent LSN; some may not count yet, see
  /// ``Keyframe/consistentLSN`` and ``uploadedLSN``.
  public var keyframes: [Keyframe] { chain.lines[0].countingKeyframes() }
  /// Of the line itself, in order.
  public var chunks: [WALChunkReference] { chain.lines[0].spans().map(\.chunk) }
  /// Objects that could not be read.
  public var damages: [HistoryError] {
    chain.lines.flatMap { $0.damages.sorted { $0.key < $1.key }.map(\.value) }
  }

  /// WAL that is missing between the oldest keyframe's redo LSN and the end and that retention did not
  /// evict; empty when all is well.
  public func gaps() -> [WALGap] {
    let oldest = chain.lines.reversed().lazy.compactMap { $0.countingKeyframes().first }.first
    let start = oldest?.redoLSN ?? chain.lines[chain.lines.count - 1].description.startLSN
    let end = chain.uploadedLSN
    return start < end ? chain.gaps(in: start..<end).filter { !chain.isEvicted($0) } : []
  }

  /// What happened on the line and its ancestors, from the chunks that have work in a range.
  public func activity(from: LSN, to: LSN) async throws -> WALActivity {
    var result = WALActivity()
    for piece in chain.pieces where piece.range.overlaps(from..<to) {
      let reader = try await reader(of: piece)
      result.append(try await reader.activity())
    }
    return result
  }

  /// Start of the last record in `[from, to)` whose effect only the server's replay gives.
  ///
  /// A chunk tells its last one only: where that lies behind the range, one in it may be missed. Keyframes rule that out
  /// already (`KeyframeService.kind`): none is partial while such a record lies since the newest complete layer.
  public func lastHardRecord(from: LSN, to: LSN) -> LSN? {
    chain.pieces.lazy.filter { $0.range.overlaps(from..<max(from, to)) }
      .compactMap(\.chunk.summary.lastHardLSN).filter { from <= $0 && $0 < to }.max()
  }

  func reader(of piece: LineChain.Piece) async throws -> WALChunkReader {
    let contents = chain.lines[piece.line]
    return try await WALChunkReader(
      contents.keys.wal(piece.chunk.number), size: piece.chunk.size, store: store)
  }
}
