import History
import PostgresFormat

/// Verifies WAL as it comes and cuts it into chunks; each byte is parsed once while the store keeps
/// up.
///
/// ## State and invariants
/// 1. `chunkReader` stands where the chunk being filled ends; `builder` holds what it read since
///   the chunk began.
/// 2. While `aheadReader` is nil, that is also the end of what was verified. When the chunk is full
///   and the store
///    has not taken the one before, `aheadReader` goes on verifying, and the bytes between are read
///    again later.
/// 3. A chunk never crosses one of `cuts` (a switch of the timeline) and holds nothing below
///   `uploadStart`.
///
/// Used by one thread.
struct ChunkFiller {
  private let line: LineID
  private let systemIdentifier: UInt64
  private let limit: Int
  private let piece = 256 << 10
  /// Bytes below are context for the first record: they are in the store already.
  private let uploadStart: LSN
  private(set) var timeline: TimelineID

  private var chunkReader: WALStreamReader
  private var aheadReader: WALStreamReader?
  private var builder: WALChunkBuilder
  /// Where to go back to when what came after the last sync is lost.
  private var chunkStart: (reader: WALStreamReader, builder: WALChunkBuilder)
  private var syncedReader: WALStreamReader
  /// Ascending; where a timeline begins.
  private var cuts: [(lsn: LSN, timeline: TimelineID)] = []

  /// A chunk ready for upload.
  struct Filled: Sendable {
    var chunk: WALChunk
    var range: Range<LSN>
  }

  /// What a step of verification learned.
  struct Verified {
    var firstCommit: PostgresTimestamp?
  }

  /// - Parameters:
  ///   - reader: at a record boundary at or below `uploadStart`, or searching.
  ///   - uploadStart: the end of what the store holds.
  init(
    reader: WALStreamReader, uploadStart: LSN, line: LineID, timeline: TimelineID,
    systemIdentifier: UInt64, limit: Int, time: PostgresTimestamp
  ) {
    self.line = line
    self.timeline = timeline
    self.systemIdentifier = systemIdentifier
    self.limit = limit
    self.uploadStart = uploadStart
    chunkReader = reader
    syncedReader = reader
    builder = WALChunkBuilder(
      line: line, timeline: timeline, systemIdentifier: systemIdentifier, startLSN: uploadStart,
      time: time)
    chunkStart = (reader, builder)
  }

  /// The end of what was verified: whole records, and the beginning of one that is not whole.
  var verifiedLSN: LSN { aheadReader?.position ?? chunkReader.position }
  var lastRecordEnd: LSN { aheadReader?.lastRecordEnd ?? chunkReader.lastRecordEnd }

  /// The spool must keep what lies at or above, for the first record of the chunk being filled.
  var chunkContext: LSN { chunkStart.reader.lastRecordEnd }

  /// The WAL from `lsn` on is of another timeline.
  mutating func cut(at lsn: LSN, _ timeline: TimelineID) {
    if !cuts.contains(where: { $0.lsn == lsn }) { cuts.append((lsn, timeline)) }
  }

  /// Verifies what the spool holds up to `end`, filling the chunk while it has room.
  ///
  /// - Throws: ``FormatError`` for damage, ``FileError``; then ``rewind()`` must follow.
  mutating func verify(upTo end: LSN, in spool: WALSpool, _ buffer: UnsafeMutableRawBufferPointer)
    throws -> Verified
  {
    var result = Verified()
    if aheadReader == nil {
      try fill(upTo: end, in: spool, buffer, &result)
      if chunkReader.position < end { aheadReader = chunkReader }
    }
    while let position = aheadReader?.position, position < end {
      let bytes = try read(position, end, spool, buffer)
      try ChunkFiller.feed(&aheadReader!, bytes, &result) { _ in }
    }
    return result
  }

  /// Fills the chunk with bytes that were verified before, where some are waiting.
  mutating func catchUp(in spool: WALSpool, _ buffer: UnsafeMutableRawBufferPointer) throws {
    guard let ahead = aheadReader else { return }
    var result = Verified()
    try fill(upTo: ahead.position, in: spool, buffer, &result)
    if chunkReader.position == ahead.position { aheadReader = nil }
  }

  /// Everything verified so far is durable.
  mutating func didSync() { syncedReader = aheadReader ?? chunkReader }

  /// Takes the chunk, if it holds anything, and begins the next.
  mutating func take() -> Filled? {
    guard !builder.isEmpty else { return nil }
    let filled = Filled(
      chunk: builder.finish(), range: builder.startLSN..<builder.endLSN)
    beginChunk()
    return filled
  }

  /// Begins a chunk where the present one ends, on the timeline that holds there.
  private mutating func beginChunk() {
    while let next = cuts.first, next.lsn <= builder.endLSN {
      timeline = next.timeline
      cuts.removeFirst()
    }
    builder = WALChunkBuilder(
      line: line, timeline: timeline, systemIdentifier: systemIdentifier,
      startLSN: builder.endLSN, time: builder.lastTime)
    chunkStart = (chunkReader, builder)
  }

  /// Goes back to what was last synced: what came after is read again when it has come again.
  mutating func rewind() {
    (chunkReader, builder) = chunkStart
    aheadReader = syncedReader.position > chunkReader.position ? syncedReader : nil
  }

  private mutating func fill(
    upTo end: LSN, in spool: WALSpool, _ buffer: UnsafeMutableRawBufferPointer,
    _ result: inout Verified
  ) throws {
    if builder.isEmpty, let next = cuts.first, next.lsn <= builder.startLSN { beginChunk() }
    while chunkReader.position < end {
      let position = chunkReader.position
      guard position >= uploadStart else {
        let bytes = try read(position, min(end, uploadStart), spool, buffer)
        try ChunkFiller.feed(&chunkReader, bytes, &result) { _ in }
        continue
      }
      let room = limit - builder.byteCount
      let stop = min(end, position + UInt64(max(room, 0)), cuts.first?.lsn ?? end)
      guard position < stop else { return }
      let bytes = try read(position, stop, spool, buffer)
      builder.append(bytes)
      var observing = builder
      // One owner at a time, so that observing copies nothing.
      builder = WALChunkBuilder(
        line: line, timeline: timeline, systemIdentifier: systemIdentifier, startLSN: position,
        time: observing.lastTime)
      defer { builder = observing }
      try ChunkFiller.feed(&chunkReader, bytes, &result) { try observing.observe($0) }
    }
  }

  private func read(
    _ position: LSN, _ end: LSN, _ spool: WALSpool, _ buffer: UnsafeMutableRawBufferPointer
  ) throws -> UnsafeRawBufferPointer {
    let count = Int(min(end - position, UInt64(min(piece, buffer.count))))
    let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
    let found = try spool.read(into: part, at: position)
    guard found > 0 else {
      throw FormatError(.gap, lsn: position, expected: "bytes in the spool", found: "none")
    }
    return UnsafeRawBufferPointer(rebasing: part[..<found])
  }

  private static func feed(
    _ reader: inout WALStreamReader, _ bytes: UnsafeRawBufferPointer, _ result: inout Verified,
    _ body: (WALRecordView) throws -> Void
  ) throws {
    var firstCommit = result.firstCommit
    let start = reader.position
    let outcome = try reader.feed(bytes, at: start) { record in
      if firstCommit == nil, record.commitsTransaction { firstCommit = record.transactionEndTime }
      try body(record)
    }
    result.firstCommit = firstCommit
    if case .endOfWAL(let end) = outcome {
      throw FormatError(.recordLength, lsn: end, expected: "a record", found: "zeros")
    }
  }
}
