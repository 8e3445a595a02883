import ObjectStorage
import PostgresFormat

/// A summary of all that a line held when it was written, so that a reader lists only what came
/// after it.
struct Manifest: Sendable {
  var line: LineID
  var number: ObjectNumber
  /// Objects with numbers up to these are in the manifest, or are no part of the line any more.
  var lastChunk: ObjectNumber
  var lastKeyframe: ObjectNumber
  /// In order of their first LSN.
  var chunks: [WALChunkReference]
  /// In order of their numbers.
  var keyframes: [Keyframe]
  /// What the line's volume reads below its own blocks, as its writer knew it.
  var base: VolumeBase

  var key: ObjectKey { LineKeys(line: line).manifest(number) }

  static let partType: UInt8 = 1
  /// Manifests that a line keeps.
  static let keptCount = 2
  /// A new manifest is due after this many objects, or an eighth of what it will list.
  static let spacing = 64

  static func isDue(newObjects: Int, total: Int) -> Bool {
    newObjects >= max(spacing, total / 8)
  }

  func encodedObject() throws -> [UInt8] {
    var writer = BinaryWriter()
    writer.append(string: line.rawValue)
    for number in [lastChunk, lastKeyframe] {
      writer.append(varint: UInt64(number.epoch))
      writer.append(varint: number.sequence)
    }
    writer.append(varint: UInt64(chunks.count))
    for chunk in chunks { chunk.encode(to: &writer) }
    writer.append(varint: UInt64(keyframes.count))
    for keyframe in keyframes { keyframe.encode(to: &writer) }
    base.encode(to: &writer)
    var envelope = EnvelopeWriter(kind: .manifest, key: key)
    try envelope.addPart(type: Manifest.partType, writer.bytes)
    try envelope.finish()
    return envelope.takePending()
  }

  static func read(
    _ key: ObjectKey, number: ObjectNumber, line: LineID, store: any ObjectStore
  ) async throws -> Manifest {
    let envelope = try await readEnvelope(key, kind: .manifest, store: store)
    let bytes = try envelope.read(type: partType, name: "manifest")
    return try BinaryReader.decode(bytes, key: key.name, operation: "read manifest") {
      try Manifest(from: &$0, number: number, line: line)
    }
  }

  private init(from reader: inout BinaryReader, number: ObjectNumber, line: LineID) throws {
    guard try reader.readLineID() == line else { throw reader.malformed("line \(line)") }
    func readNumber() throws -> ObjectNumber {
      ObjectNumber(
        epoch: try reader.readVarint(as: UInt32.self), sequence: try reader.readVarint())
    }
    self.init(
      line: line, number: number, lastChunk: try readNumber(), lastKeyframe: try readNumber(),
      chunks: [], keyframes: [], base: VolumeBase())
    for _ in 0..<(try reader.readCount(minimumSize: 80)) {
      chunks.append(try WALChunkReference(from: &reader))
    }
    for _ in 0..<(try reader.readCount(minimumSize: 80)) {
      keyframes.append(try Keyframe(from: &reader))
    }
    // Manifests of version 0.1 end here.
    if !reader.isAtEnd { base = try VolumeBase(from: &reader) }
  }

  init(
    line: LineID, number: ObjectNumber, lastChunk: ObjectNumber, lastKeyframe: ObjectNumber,
    chunks: [WALChunkReference], keyframes: [Keyframe], base: VolumeBase
  ) {
    self.line = line
    self.number = number
    self.lastChunk = lastChunk
    self.lastKeyframe = lastKeyframe
    self.chunks = chunks
    self.keyframes = keyframes
    self.base = base
  }
}
