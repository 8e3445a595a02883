import ObjectStorage
import PostgresFormat

/// A chunk in the store, opened: its parts are read as they are needed.
public struct WALChunkReader: Sendable {
  public let summary: WALChunkSummary
  /// Below this all of the line's WAL was stored when the chunk set out; `nil` where that is its start.
  let confirmedLSN: LSN?
  let key: ObjectKey
  private let envelope: StoredEnvelope
  private let map: WALPartMap
  /// Bytes of WAL that are read at a time: a request of the store costs more than decompressing.
  private static let readSize: UInt64 = 256 << 10

  /// Opens a chunk that was found by listing.
  init(_ key: ObjectKey, size: UInt64, store: any ObjectStore) async throws {
    envelope = try await StoredEnvelope(key, size: size, kind: .walChunk, store: store)
    self.key = key
    let bytes = try await envelope.read(type: WALChunkPartType.summary, name: "summary")
    summary = try WALChunkSummary(encoded: bytes, key: key.name)
    map = try WALPartMap(envelope.directory, summary)
    guard let part = envelope.directory.first(type: WALChunkPartType.confirmed) else {
      confirmedLSN = nil
      return
    }
    confirmedLSN = try BinaryReader.decode(
      await envelope.read(part), key: key.name, operation: "read confirmed LSN of"
    ) { LSN(try $0.read()) }
  }

  /// What happened in the chunk.
  public func activity() async throws -> WALActivity {
    try WALActivity(
      encoded: await envelope.read(type: WALChunkPartType.activity, name: "activity"),
      key: key.name)
  }

  /// The chunks that a long one was made of, in order; empty for others.
  func runs() async throws -> [WALChunkSummary] {
    guard let part = envelope.directory.first(type: WALChunkPartType.runs) else { return [] }
    return try WALChunkSummary.decode(await envelope.read(part), key: key.name)
  }

  /// The bytes from `lsn`, which must lie in the chunk, to the end of a part: 256 KiB or the rest
  /// of a larger part, fewer at the chunk's end.
  func bytes(from lsn: LSN) async throws -> [UInt8] {
    precondition(lsn >= summary.startLSN && lsn < summary.endLSN, "\(lsn) not in the chunk")
    let (first, range) = map.part(holding: lsn)
    var (end, endLSN) = (first + 1, range.upperBound)
    while end < map.parts.upperBound {
      let next = endLSN + UInt64(envelope.directory[end].plainLength)
      if next - lsn > WALChunkReader.readSize { break }
      (end, endLSN) = (end + 1, next)
    }
    let bytes = try await envelope.read(parts: first..<end)
    let skip = Int(lsn - range.lowerBound)
    return skip == 0 ? bytes : Array(bytes[skip...])
  }
}

extension WALChunkSummary {
  static func encode(_ summaries: [WALChunkSummary]) -> [UInt8] {
    var writer = BinaryWriter()
    writer.append(varint: UInt64(summaries.count))
    for summary in summaries { summary.encode(to: &writer) }
    return writer.bytes
  }

  static func decode(_ encoded: [UInt8], key: String) throws -> [WALChunkSummary] {
    try BinaryReader.decode(encoded, key: key, operation: "read runs of") { reader in
      try (0..<reader.readCount(minimumSize: 60)).map { _ in try WALChunkSummary(from: &reader) }
    }
  }

  init(encoded: [UInt8], key: String) throws {
    self = try BinaryReader.decode(encoded, key: key, operation: "read summary of") {
      try WALChunkSummary(from: &$0)
    }
  }
}
