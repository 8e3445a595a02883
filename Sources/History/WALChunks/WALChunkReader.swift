import ObjectStorage
import PostgresFormat

/// A chunk in the store, opened: its parts are read as they are needed.
public struct WALChunkReader: Sendable {
  public let summary: WALChunkSummary
  let key: ObjectKey
  private let envelope: StoredEnvelope
  /// The chunk's parts of WAL bytes, in order.
  private let parts: [Int]

  /// Opens a chunk that was found by listing.
  init(_ key: ObjectKey, size: UInt64, store: any ObjectStore) async throws {
    envelope = try await StoredEnvelope(key, size: size, kind: .walChunk, store: store)
    self.key = key
    let directory = envelope.directory
    parts = (0..<directory.count).filter { directory[$0].type == WALChunkPartType.bytes }
    let bytes = try await envelope.read(type: WALChunkPartType.summary, name: "summary")
    summary = try BinaryReader.decode(bytes, key: key.name, operation: "read summary of") {
      try WALChunkSummary(from: &$0)
    }
    let total = parts.reduce(0) { $0 + UInt64(directory[$1].plainLength) }
    let whole = parts.dropLast().allSatisfy {
      Int(directory[$0].plainLength) == WALChunk.partSize
    }
    guard total == summary.byteCount, whole else {
      throw HistoryError(
        .damaged, operation: "open", key: key.name,
        detail: "\(total) bytes of WAL for \(summary.startLSN)-\(summary.endLSN)")
    }
  }

  /// What happened in the chunk.
  public func activity() async throws -> WALActivity {
    try WALActivity(
      encoded: await envelope.read(type: WALChunkPartType.activity, name: "activity"),
      key: key.name)
  }

  /// The bytes from `lsn`, which must lie in the chunk, up to the end of the part it lies in: at
  /// most 256 KiB.
  func bytes(from lsn: LSN) async throws -> [UInt8] {
    precondition(lsn >= summary.startLSN && lsn < summary.endLSN, "\(lsn) not in the chunk")
    let offset = Int(lsn - summary.startLSN)
    let (part, skip) = offset.quotientAndRemainder(dividingBy: WALChunk.partSize)
    let bytes = try await envelope.read(parts[part])
    return skip == 0 ? bytes : Array(bytes[skip...])
  }

  /// All of the chunk, as it was before it was stored.
  func readAll() async throws -> WALChunk {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Int(summary.byteCount))
    for part in parts { bytes += try await envelope.read(part) }
    return WALChunk(summary: summary, activity: try await activity(), bytes: bytes)
  }
}
