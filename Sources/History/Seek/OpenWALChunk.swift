import DurableIO
import ObjectStorage
import PostgresFormat
import Synchronization

/// A chunk opened for reading on the caller's thread: its directory, fence and cuts are in memory.
///
/// Safe from several threads; reads block. A local object stays readable when it is deleted.
final class OpenWALChunk: Sendable {
  /// Unlike an address, never used twice.
  let identity: UInt64
  let summary: WALChunkSummary
  let map: WALPartMap
  /// `nil` where the chunk has no index.
  let index: Index?
  let envelope: EnvelopeReader
  var key: ObjectKey { envelope.source.key }

  struct Index: Sendable {
    var fence: BlockFence
    /// Ascending by locator, then LSN.
    var cuts: [BlockCut]
    /// In the object's directory; one for each key of the fence.
    var parts: Range<Int>
  }

  private static let identities = Atomic<UInt64>(0)

  init(_ source: any ObjectBytes, expected: WALChunkSummary) throws {
    identity = OpenWALChunk.identities.wrappingAdd(1, ordering: .relaxed).newValue
    envelope = try EnvelopeReader(source, kind: .walChunk)
    let name = source.key.name
    summary = try WALChunkSummary(
      encoded: envelope.read(type: WALChunkPartType.summary, name: "summary"), key: name)
    guard summary == expected else {
      throw HistoryError(
        .damaged, operation: "open", key: name, lsn: summary.startLSN,
        detail: "another summary than listed")
    }
    map = try WALPartMap(envelope.directory, summary)
    index = try OpenWALChunk.readIndex(envelope, summary, name)
  }

  private static func readIndex(
    _ envelope: EnvelopeReader, _ summary: WALChunkSummary, _ name: String
  ) throws -> Index? {
    let directory = envelope.directory
    guard let fencePart = directory.first(type: WALChunkPartType.blockFence) else { return nil }
    let fence = try BlockFence(encoded: envelope.read(fencePart), key: name)
    let cuts = try BlockCut.decode(
      envelope.read(type: WALChunkPartType.blockCuts, name: "cuts"),
      records: summary.recordStarts, key: name)
    let first = directory.first(type: WALChunkPartType.blockRecords) ?? 0
    let parts = first..<first + fence.firstKeys.count
    let found = (0..<directory.count).filter {
      directory[$0].type == WALChunkPartType.blockRecords
    }
    guard found.elementsEqual(parts) else {
      throw HistoryError(
        .damaged, operation: "open", key: name,
        detail: "a fence of \(parts.count) parts for \(found.count)")
    }
    return Index(fence: fence, cuts: cuts, parts: parts)
  }

  /// A part of the index, by its number in the fence.
  func indexPart(_ number: Int, _ cache: ChainCache) throws -> BlockIndexPart {
    let part = index!.parts.lowerBound + number
    return try cache.index.value(.init(chunk: identity, part: part), cost: \.cost) {
      let bytes = try envelope.read(part)
      return try bytes.withUnsafeBytes {
        try BlockIndexPart(encoded: $0, units: summary.recordUnits, key: key.name)
      }
    }
  }

  /// Index bytes of a far chunk that are fetched in one go, at most.
  private static let fetchLimit = 4 << 20

  /// Stored bytes of the index's parts.
  var indexBytes: Int {
    guard let parts = index?.parts, !parts.isEmpty else { return 0 }
    let directory = envelope.directory
    let end = directory[parts.upperBound - 1].storedRange.upperBound
    return Int(end - directory[parts.lowerBound].offset)
  }

  /// Brings all parts of a far chunk's index into the cache by one request: whoever looks for many blocks needs most
  /// of them, and each would be a request of its own.
  func fetchIndex(_ cache: ChainCache) throws {
    guard !envelope.source.isNear, let parts = index?.parts, parts.count > 1,
      indexBytes <= OpenWALChunk.fetchLimit
    else { return }
    let directory = envelope.directory
    let stored = try envelope.readStored(parts.lowerBound...parts.upperBound - 1)
    for part in parts {
      _ = try cache.index.value(.init(chunk: identity, part: part), cost: \.cost) {
        let plain = [UInt8](repeating: 0, count: Int(directory[part].plainLength))
        return try decoded(part, stored, parts.lowerBound, plain)
      }
    }
  }

  private func decoded(
    _ part: Int, _ stored: [UInt8], _ first: Int, _ plain: consuming [UInt8]
  ) throws -> BlockIndexPart {
    try plain.withUnsafeMutableBytes {
      try envelope.read(part, in: stored, first: first, into: $0)
      return try BlockIndexPart(
        encoded: UnsafeRawBufferPointer($0), units: summary.recordUnits, key: key.name)
    }
  }

  /// A part of WAL, by its index in the directory.
  func walPart(_ part: Int, _ cache: ChainCache) throws -> WALPart {
    let count = Int(envelope.directory[part].plainLength)
    return try cache.wal.value(
      .init(chunk: identity, part: part), cost: { _ in count },
      make: { try WALPart(count: count) { try envelope.read(part, into: $0) } })
  }
}
