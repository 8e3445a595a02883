import ObjectStorage
import PostgresFormat

/// Makes one chunk of neighbouring ones, part by part.
///
/// ## Purpose
/// Memory for a part of each source's index and a megabyte of output, whatever the chunks' size. WAL of large
/// sources is copied as it is stored, after its checksum; nothing is parsed.
///
/// ## State and invariants
/// The result is what one chunk over all of their WAL would have been. Without the index of all there is none.
///
/// ## Concurrency
/// One thread, which it blocks.
struct WALChunkMerge {
  /// In order, each begins where the one before it ends.
  let sources: [OpenWALChunk]
  /// Of the object that is made.
  let key: ObjectKey
  /// WAL of sources from this size on is copied as it is stored; smaller ones share parts.
  let copiedBytes: UInt64
  /// Whether the result tells which chunks it was made of, so that a time is sought in one of them.
  var namesRuns = false
  /// Where an object's bytes go.
  let write: (UnsafeRawBufferPointer) throws -> Void

  private static let flushSize = 1 << 20
  /// Bytes of stored parts read at a time.
  private static let readSize: UInt64 = 1 << 20

  struct Result: Sendable {
    var summary: WALChunkSummary
    /// Of the object.
    var size: UInt64
  }

  /// - Throws: ``HistoryError`` with the damaged source's name, and what `write` throws.
  func run() throws -> Result {
    var summary = sources[0].summary
    for source in sources.dropFirst() {
      precondition(source.summary.startLSN == summary.endLSN, "chunks that do not touch")
      summary.append(source.summary)
    }
    var envelope = EnvelopeWriter(kind: .walChunk, key: key)
    try copyWAL(to: &envelope)
    if sources.allSatisfy({ $0.index != nil }) { try mergeIndex(summary, to: &envelope) }
    if namesRuns { try envelope.addPart(type: WALChunkPartType.runs, runs()) }
    var activity = WALActivity()
    for source in sources {
      activity.append(
        try WALActivity(
          encoded: source.envelope.read(type: WALChunkPartType.activity, name: "activity"),
          key: source.key.name))
    }
    try envelope.addPart(type: WALChunkPartType.activity, activity.encoded)
    var writer = BinaryWriter()
    summary.encode(to: &writer)
    try envelope.addPart(type: WALChunkPartType.summary, writer.bytes)
    try envelope.finish()
    try envelope.drain(write)
    return Result(summary: summary, size: envelope.size)
  }

  private func runs() throws -> [UInt8] {
    WALChunkSummary.encode(
      try sources.flatMap { source in
        guard let part = source.envelope.directory.first(type: WALChunkPartType.runs) else {
          return [source.summary]
        }
        return try WALChunkSummary.decode(source.envelope.read(part), key: source.key.name)
      })
  }

  private func flushIfFull(_ envelope: inout EnvelopeWriter) throws {
    if envelope.pending.count >= Self.flushSize { try envelope.drain(write) }
  }

  // MARK: WAL

  private func copyWAL(to envelope: inout EnvelopeWriter) throws {
    var rest: [UInt8] = []
    func end() throws {
      if !rest.isEmpty { try envelope.addPart(type: WALChunkPartType.bytes, rest) }
      rest.removeAll(keepingCapacity: true)
    }
    for source in sources {
      let isCopied = source.summary.byteCount >= copiedBytes
      if isCopied { try end() }
      try forEachStored(source.map.parts, of: source) { part, stored in
        let entry = source.envelope.directory[part]
        if isCopied {
          try source.envelope.directory.verify(part, stored: stored)
          envelope.add(
            type: WALChunkPartType.bytes, stored: stored, plain: Int(entry.plainLength),
            isCompressed: entry.isCompressed)
        } else {
          rest += try source.envelope.directory.plain(part, stored: stored)
          while rest.count >= WALChunk.partSize {
            try envelope.addPart(
              type: WALChunkPartType.bytes, Array(rest[..<WALChunk.partSize]))
            rest.removeFirst(WALChunk.partSize)
          }
        }
        try flushIfFull(&envelope)
      }
    }
    try end()
  }

  private func forEachStored(
    _ parts: Range<Int>, of source: OpenWALChunk,
    _ body: (Int, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    var batch = StoredParts(source.envelope, limit: Self.readSize)
    for part in parts { try batch.withPart(part, before: parts.upperBound) { try body(part, $0) } }
  }

  // MARK: Index

  private func mergeIndex(
    _ summary: WALChunkSummary, to envelope: inout EnvelopeWriter
  ) throws {
    var merge = BlockIndexMerge(sources, base: summary.recordBase)
    var encoder = BlockIndexEncoder(partSize: BlockRecords.partSize)
    while let run = try merge.next() {
      encoder.append(run.relation, block: run.block, run.positions)
      for part in encoder.takeParts() {
        try envelope.addPart(type: WALChunkPartType.blockRecords, part)
      }
      try flushIfFull(&envelope)
    }
    encoder.endPart()
    for part in encoder.takeParts() {
      try envelope.addPart(type: WALChunkPartType.blockRecords, part)
    }
    let cuts = sources.flatMap { $0.index?.cuts ?? [] }
      .sorted { ($0.locator, $0.lsn) < ($1.locator, $1.lsn) }
    try envelope.addPart(
      type: WALChunkPartType.blockCuts, BlockCut.encode(cuts, base: summary.recordBase))
    let fence = BlockFence(firstKeys: encoder.firstKeys, entryCount: merge.entryCount)
    try envelope.addPart(type: WALChunkPartType.blockFence, fence.encoded)
  }
}

/// Neighbouring parts of an object as they are stored, read together.
struct StoredParts {
  private let envelope: EnvelopeReader
  private let limit: UInt64
  private var stored: [UInt8] = []
  private var range = 0..<0

  /// - Parameter limit: bytes read at a time, or one part where that is larger.
  init(_ envelope: EnvelopeReader, limit: UInt64) {
    self.envelope = envelope
    self.limit = limit
  }

  /// - Parameter end: parts from here on are not wanted.
  mutating func withPart<Value>(
    _ part: Int, before end: Int, _ body: (UnsafeRawBufferPointer) throws -> Value
  ) throws -> Value {
    let directory = envelope.directory
    if !range.contains(part) {
      var last = part
      let start = directory[part].offset
      while last + 1 < end, directory[last + 1].storedRange.upperBound <= start + limit,
        directory[last + 1].offset == directory[last].storedRange.upperBound
      {
        last += 1
      }
      stored = try envelope.readStored(part...last)
      range = part..<last + 1
    }
    let own = directory[part].storedRange
    let start = Int(own.lowerBound - directory[range.lowerBound].offset)
    return try stored.withUnsafeBytes {
      try body(UnsafeRawBufferPointer(rebasing: $0[start..<start + own.count]))
    }
  }
}

extension PartDirectory {
  /// A part's bytes, from its stored ones.
  func plain(_ index: Int, stored: UnsafeRawBufferPointer) throws -> [UInt8] {
    let count = Int(self[index].plainLength)
    return try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      try decode(
        index, stored: stored,
        into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count))
      initialized = count
    }
  }
}
