import ObjectStorage
import PostgresFormat

/// What the parts of a WAL chunk hold; docs/formats/wal-chunk.md.
///
/// Readers pass over types they do not know. A chunk without a fence has no block index.
enum WALChunkPartType {
  /// WAL bytes, in parts of any size.
  static let bytes: UInt8 = 1
  static let activity: UInt8 = 16
  /// Last, so that the end of the object tells what it is.
  static let summary: UInt8 = 17
  /// The records that touch each block, sorted by block.
  static let blockRecords: UInt8 = 32
  /// The first key of each of those parts.
  static let blockFence: UInt8 = 33
  static let blockCuts: UInt8 = 34
  /// Summaries of the chunks that a long one was made of.
  static let runs: UInt8 = 35
  /// Below which LSN all was stored when the chunk set out; absent where that is its start.
  static let confirmed: UInt8 = 36
}

/// A run of WAL with its index, not yet in the store.
public struct WALChunk: Sendable {
  /// Bytes of WAL that are compressed together: what reading one record decompresses.
  /// Measured in docs/decisions/2026-11-25-block-index.md.
  static let partSize = 16 << 10

  public internal(set) var summary: WALChunkSummary
  public internal(set) var activity: WALActivity
  public internal(set) var bytes: [UInt8]
  /// `nil` where the chunk comes from the store and has no index.
  var blockRecords: BlockRecords?

  /// The object that holds the chunk. Costs the compression of the bytes: some milliseconds a
  /// megabyte.
  /// - Parameter confirmed: all of the line's WAL below is stored; `nil` for the chunk's start.
  func encoded(
    key: ObjectKey, level: Int32 = 1, partSize: Int = WALChunk.partSize, confirmed: LSN? = nil
  ) throws -> [UInt8] {
    var envelope = EnvelopeWriter(kind: .walChunk, key: key)
    try bytes.withUnsafeBytes { bytes in
      for start in stride(from: 0, to: bytes.count, by: partSize) {
        let end = min(start + partSize, bytes.count)
        try envelope.addPart(
          type: WALChunkPartType.bytes, UnsafeRawBufferPointer(rebasing: bytes[start..<end]),
          level: level)
      }
    }
    if let blockRecords {
      try envelope.addBlockIndex(blockRecords, base: summary.recordBase)
    }
    if let confirmed, confirmed < summary.startLSN {
      var writer = BinaryWriter()
      writer.append(confirmed.rawValue)
      try envelope.addPart(type: WALChunkPartType.confirmed, writer.bytes)
    }
    try envelope.addPart(type: WALChunkPartType.activity, activity.encoded)
    var writer = BinaryWriter()
    summary.encode(to: &writer)
    try envelope.addPart(type: WALChunkPartType.summary, writer.bytes)
    try envelope.finish()
    return envelope.takePending()
  }
}

extension EnvelopeWriter {
  /// After the WAL, so that the fence lies near the object's end, which is read first.
  mutating func addBlockIndex(_ records: BlockRecords, base: LSN) throws {
    let index = records.encoded(base: base)
    for part in index.parts { try addPart(type: WALChunkPartType.blockRecords, part) }
    try addPart(type: WALChunkPartType.blockCuts, index.cuts)
    try addPart(type: WALChunkPartType.blockFence, index.fence)
  }
}
