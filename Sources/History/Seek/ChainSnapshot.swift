import DurableIO
import ObjectStorage
import PostgresFormat
import Synchronization

/// The chunks of a line's path in a range, as they were listed; opened when first needed.
///
/// Safe from several threads; reads block.
final class ChainSnapshot: Sendable {
  let chain: LineChain
  /// Those that hold WAL of the range, oldest first.
  let pieces: [LineChain.Piece]
  private let storage: LayerStorage
  /// One place for each piece.
  private let opened: Mutex<[Chunk?]>

  /// A chunk, and its index where that had to be made by parsing.
  struct Chunk: Sendable {
    var stored: OpenWALChunk
    var parsed: ParsedBlockIndex?
  }

  /// - Parameter before: what was opened of an older listing is taken over.
  init(
    _ chain: LineChain, range: Range<LSN>, storage: LayerStorage, before: ChainSnapshot? = nil
  ) {
    self.chain = chain
    self.storage = storage
    let pieces = chain.pieces.filter {
      $0.range.upperBound > range.lowerBound && $0.range.lowerBound < range.upperBound
    }
    self.pieces = pieces
    var places = [Chunk?](repeating: nil, count: pieces.count)
    if let before {
      let known = Dictionary(
        before.opened.withLock { $0 }.compactMap { $0 }.map { ($0.stored.key, $0) },
        uniquingKeysWith: { first, _ in first })
      for (place, piece) in pieces.enumerated() {
        places[place] = known[chain.lines[piece.line].keys.wal(piece.chunk.number)]
      }
    }
    opened = Mutex(places)
  }

  func key(ofPiece place: Int) -> ObjectKey {
    chain.lines[pieces[place].line].keys.wal(pieces[place].chunk.number)
  }

  /// The piece that holds the byte at `lsn`.
  func place(holding lsn: LSN) -> Int? {
    var (low, high) = (0, pieces.count)
    while low < high {
      let middle = (low + high) / 2
      if pieces[middle].range.upperBound > lsn { high = middle } else { low = middle + 1 }
    }
    return low < pieces.count && pieces[low].range.contains(lsn) ? low : nil
  }

  /// The chunk of a piece; its index may be missing.
  func stored(_ place: Int) throws -> OpenWALChunk { try open(place).chunk.stored }

  /// The chunk of a piece with its index; parses its WAL where it was stored without one.
  func indexed(_ place: Int, _ cache: ChainCache) throws -> Chunk {
    var (chunk, isNew) = try open(place)
    if isNew { try chunk.stored.fetchIndex(cache) }
    if chunk.stored.index != nil || chunk.parsed != nil { return chunk }
    chunk.parsed = try ParsedBlockIndex(place, self, cache)
    return opened.withLock { opened in
      if let first = opened[place], first.parsed != nil { return first }
      opened[place] = chunk
      return chunk
    }
  }

  private func open(_ place: Int) throws -> (chunk: Chunk, isNew: Bool) {
    if let chunk = opened.withLock({ $0[place] }) { return (chunk, false) }
    let piece = pieces[place]
    let source = try openObject(
      key(ofPiece: place), size: piece.chunk.size, store: storage.store,
      fileSystem: storage.fileSystem)
    let chunk = Chunk(stored: try OpenWALChunk(source, expected: piece.chunk.summary))
    // Two threads may have opened it at once: the first one stays.
    return opened.withLock { opened in
      if let first = opened[place] { return (first, false) }
      opened[place] = chunk
      return (chunk, true)
    }
  }
}

extension ChainSnapshot.Chunk {
  var fence: BlockFence { parsed?.fence ?? stored.index!.fence }
  var cuts: [BlockCut] { parsed?.cuts ?? stored.index!.cuts }
  var base: LSN { stored.summary.recordBase }

  func part(_ number: Int, _ cache: ChainCache) throws -> BlockIndexPart {
    if let parsed { return parsed.parts[number] }
    return try stored.indexPart(number, cache)
  }
}

/// The index of a chunk that was stored without one.
///
/// Stays in memory while the chunk is open: some 10 bytes for each block of each record.
final class ParsedBlockIndex: Sendable {
  let parts: [BlockIndexPart]
  let fence: BlockFence
  let cuts: [BlockCut]

  /// Parses the records that end in the piece.
  init(_ place: Int, _ snapshot: ChainSnapshot, _ cache: ChainCache) throws {
    let piece = snapshot.pieces[place]
    let summary = piece.chunk.summary
    let key = snapshot.key(ofPiece: place).name
    var records = BlockRecords()
    if let start = summary.firstRecordStart, start < piece.range.upperBound {
      var window = try WALWindow(snapshot, cache)
      do {
        try window.forEachRecord(from: start, to: piece.range.upperBound) { record in
          records.beginRecord(at: record.startLSN)
          try records.add(record)
        }
      } catch let error as FormatError {
        throw HistoryError(
          .badWAL, operation: "index WAL chunk", key: key, lsn: error.lsn, cause: error)
      }
    }
    let encoded = records.encoded(base: summary.recordBase)
    parts = try encoded.parts.map { part in
      try part.withUnsafeBytes {
        try BlockIndexPart(encoded: $0, units: summary.recordUnits, key: key)
      }
    }
    fence = try BlockFence(encoded: encoded.fence, key: key)
    cuts = try BlockCut.decode(encoded.cuts, records: summary.recordStarts, key: key)
  }
}
