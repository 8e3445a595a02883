import CCRC32C
import ObjectStorage
import Synchronization
import Testing

@testable import History

@Suite struct EnvelopeTests {
  private let key = ObjectKey("lines/ln-aaaaaaaaaaaaaaaa/wal/00000001-000000000001")

  private func object(_ key: ObjectKey, kind: Envelope.Kind = .walChunk) throws -> [UInt8] {
    var writer = EnvelopeWriter(kind: kind, key: key)
    try writer.addPart(type: 1, [UInt8](repeating: 7, count: 300))
    try writer.addPart(type: 2, (0..<100).map { UInt8($0 &* 37 & 0xFF) })
    try writer.addPart(type: 3, [])
    try writer.finish()
    return writer.takePending()
  }

  private func readAll(_ bytes: [UInt8], kind: Envelope.Kind = .walChunk) throws -> [[UInt8]] {
    let reader = try EnvelopeReader(key: key, bytes: bytes, kind: kind)
    return try (0..<reader.directory.count).map { try reader.read($0) }
  }

  @Test func partsComeBackAsTheyWent() throws {
    let parts = try readAll(object(key))
    #expect(parts[0] == [UInt8](repeating: 7, count: 300))
    #expect(parts[1] == (0..<100).map { UInt8($0 &* 37 & 0xFF) })
    #expect(parts[2] == [])
  }

  @Test func compressesOnlyWhereThatHelps() throws {
    let reader = try EnvelopeReader(key: key, bytes: object(key), kind: .walChunk)
    #expect(reader.directory[0].isCompressed && reader.directory[0].storedLength < 100)
    #expect(!reader.directory[2].isCompressed)
  }

  /// Every byte of the object, in header, parts, directory and footer alike.
  @Test func anyFlippedBitIsFoundAndNamed() throws {
    let whole = try object(key)
    for offset in whole.indices {
      for bit in [0, 3, 7] {
        var bytes = whole
        bytes[offset] ^= 1 << UInt8(bit)
        let error = #expect(throws: HistoryError.self, "byte \(offset)") { try readAll(bytes) }
        #expect(error?.key == key.name)
      }
    }
  }

  @Test func anObjectOfALaterVersionIsRefusedAsThat() throws {
    var bytes = try object(key)
    bytes[4] = 2
    let size = Envelope.headerSize
    let sum = bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, size - 4) }
    bytes.withUnsafeMutableBytes {
      $0.storeBytes(of: sum.littleEndian, toByteOffset: size - 4, as: UInt32.self)
    }
    let error = #expect(throws: HistoryError.self) { try readAll(bytes) }
    #expect(error?.code == .unsupportedVersion && error?.key == key.name)
    #expect("\(error as Any)".contains("a later version of Exzo"))
  }

  @Test func anyCutIsFound() throws {
    let whole = try object(key)
    for count in 0..<whole.count {
      let error = #expect(throws: HistoryError.self) { try readAll(Array(whole[..<count])) }
      #expect(error?.code == .damaged && error?.key == key.name)
    }
    #expect(throws: HistoryError.self) { try readAll(whole + [0]) }
  }

  @Test func anotherObjectUnderTheKeyIsFound() throws {
    let other = ObjectKey("lines/ln-aaaaaaaaaaaaaaaa/wal/00000001-000000000002")
    let error = #expect(throws: HistoryError.self) { try readAll(object(other)) }
    #expect(error?.code == .wrongObject && error?.key == key.name)
    let kind = #expect(throws: HistoryError.self) { try readAll(object(key, kind: .layer)) }
    #expect(kind?.code == .wrongObject)
  }

  @Test func aPartOfAnotherObjectDoesNotPass() throws {
    let other = ObjectKey("lines/ln-aaaaaaaaaaaaaaaa/wal/00000001-000000000002")
    var bytes = try object(key)
    let foreign = try object(other)
    // The same bytes at the same place, but sealed for another object.
    let reader = try EnvelopeReader(key: key, bytes: bytes, kind: .walChunk)
    let entry = reader.directory[1]
    let range = Int(entry.offset)..<Int(entry.offset) + Int(entry.storedLength)
    #expect(bytes[range] == foreign[range])
    let directory = bytes.count - Envelope.footerSize - 3 * Envelope.entrySize
    let crc = directory + Envelope.entrySize + 16
    #expect(bytes[crc..<crc + 4] != foreign[crc..<crc + 4])
    bytes.replaceSubrange(crc..<crc + 4, with: foreign[crc..<crc + 4])
    #expect(throws: HistoryError.self) { try readAll(bytes) }
  }

  @Test func arbitraryBytesNeverTrap() throws {
    var random = SeededRandom(99)
    for _ in 0..<2_000 {
      let count = Int.random(in: 0..<400, using: &random)
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      #expect(throws: HistoryError.self) { try readAll(bytes) }
      var index = BinaryReader(bytes)
      _ = try? index.readString()  // must not trap; whether it throws is chance
      _ = try? LayerIndex(encoded: bytes, key: "k")
      _ = try? WALActivity(encoded: bytes, key: "k")
    }
  }

  /// Version 1 seals whole objects, below the envelope: a part's key id says it is from later.
  @Test func aKeyIDIsRefused() throws {
    var bytes = try object(key)
    let header = EnvelopeHeader(
      kind: .walChunk, keyID: 9, id: ObjectID(of: key),
      nonce: [UInt8](repeating: 0, count: Envelope.nonceSize))
    let size = bytes.count
    let old = try EnvelopeFooter(
      Array(bytes.suffix(Envelope.footerSize)), key: key, kind: .walChunk, size: UInt64(size))
    let footer = EnvelopeFooter(
      header: header, directoryOffset: old.directoryOffset, directoryLength: old.directoryLength,
      directoryCRC: old.directoryCRC, partCount: old.partCount)
    bytes.replaceSubrange(0..<Envelope.headerSize, with: header.encoded)
    bytes.replaceSubrange(size - Envelope.footerSize..<size, with: footer.encoded)
    let error = #expect(throws: HistoryError.self) { try readAll(bytes) }
    #expect(error?.code == .unknownKey)
  }

  /// A far object costs one read to open where its end holds what opening needs.
  @Test func farObjectsOpenWithOneReadAndFindTheSameDamage() throws {
    var writer = EnvelopeWriter(kind: .walChunk, key: key)
    var random = SeededRandom(3)
    let parts = (0..<5).map { _ in
      (0..<100_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    }
    for part in parts { try writer.addPart(type: 1, part) }
    try writer.finish()
    let bytes = writer.takePending()
    let far = FarBytes(key: key, bytes: bytes)
    let reader = try EnvelopeReader(far, kind: .walChunk)
    #expect(far.reads == 1)
    for index in parts.indices { #expect(try reader.read(index) == parts[index]) }
    #expect(far.reads == 5, "the last part lies in the tail")
    for offset in [70, 250_000, bytes.count - 200, bytes.count - 10] {
      var bad = bytes
      bad[offset] ^= 4
      #expect(throws: HistoryError.self, "byte \(offset)") {
        let reader = try EnvelopeReader(FarBytes(key: key, bytes: bad), kind: .walChunk)
        for index in 0..<5 { _ = try reader.read(index) }
      }
    }
  }
}

/// Bytes that count how often they are asked for.
private final class FarBytes: ObjectBytes {
  private let memory: MemoryObjectBytes
  private let count = Mutex(0)
  var key: ObjectKey { memory.key }
  var size: UInt64 { memory.size }
  var isNear: Bool { false }
  var reads: Int { count.withLock { $0 } }

  init(key: ObjectKey, bytes: [UInt8]) { memory = MemoryObjectBytes(key: key, bytes: bytes) }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    count.withLock { $0 += 1 }
    try memory.read(into: buffer, at: offset)
  }
}
