import ObjectStorage
import PostgresFormat

/// What the parts of a WAL chunk hold; docs/formats/wal-chunk.md.
///
/// Readers pass over types they do not know, so that an index can be added without a new version.
enum WALChunkPartType {
  /// WAL bytes, ``WALChunk/partSize`` each but the last.
  static let bytes: UInt8 = 1
  static let activity: UInt8 = 16
  /// Last, so that the end of the object tells what it is.
  static let summary: UInt8 = 17
  /// Kept for the records that touch each block (page-level redo).
  static let blockRecords: UInt8 = 32
}

/// A run of WAL with its index, not yet in the store.
public struct WALChunk: Sendable {
  /// Bytes of WAL that are compressed together.
  static let partSize = 256 << 10

  public internal(set) var summary: WALChunkSummary
  public internal(set) var activity: WALActivity
  public internal(set) var bytes: [UInt8]

  /// The object that holds the chunk. Costs the compression of the bytes: some milliseconds a
  /// megabyte.
  func encoded(key: ObjectKey, level: Int32 = 1) throws -> [UInt8] {
    var envelope = EnvelopeWriter(kind: .walChunk, key: key)
    try bytes.withUnsafeBytes { bytes in
      for start in stride(from: 0, to: bytes.count, by: WALChunk.partSize) {
        let end = min(start + WALChunk.partSize, bytes.count)
        try envelope.addPart(
          type: WALChunkPartType.bytes, UnsafeRawBufferPointer(rebasing: bytes[start..<end]),
          level: level)
      }
    }
    try envelope.addPart(type: WALChunkPartType.activity, activity.encoded)
    var writer = BinaryWriter()
    summary.encode(to: &writer)
    try envelope.addPart(type: WALChunkPartType.summary, writer.bytes)
    try envelope.finish()
    return envelope.takePending()
  }

  /// Adds the chunk that follows this one.
  mutating func append(_ next: WALChunk) {
    precondition(next.summary.startLSN == summary.endLSN, "chunks that do not touch")
    summary.append(next.summary)
    activity.append(next.activity)
    bytes += next.bytes
  }
}
