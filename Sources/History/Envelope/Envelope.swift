import CCRC32C
import ObjectStorage

/// The layout that all objects of history share: header, parts, directory of the parts, footer.
///
/// On disk: docs/formats/envelope.md. All numbers are little endian.
enum Envelope {
  static let version: UInt16 = 1
  static let headerSize = 64
  static let entrySize = 24
  static let footerSize = 96
  static let nonceSize = 24
  static let headerMagic: UInt32 = 0x4F5A_5845  // "EXZO"
  static let footerMagic: UInt32 = 0x4558_5A4F  // "OZXE"
  /// No part is longer than this when it is decompressed.
  static let maximumPartSize = 1 << 30

  enum Kind: UInt16, Sendable {
    case line = 1
    case owner = 2
    case keyframe = 3
    case layer = 4
    case walChunk = 5
    case manifest = 6
    case evictions = 7
  }

  /// CRC-32C over the object's identity, the place of the bytes in it, and the bytes: so that a
  /// part of another object or from another place fails its check.
  static func checksum(
    _ bytes: UnsafeRawBufferPointer, object: ObjectID, offset: UInt64
  ) -> UInt32 {
    var crc = withUnsafeBytes(of: object.value.littleEndian) {
      exzo_crc32c(0, $0.baseAddress, $0.count)
    }
    crc = withUnsafeBytes(of: offset.littleEndian) {
      exzo_crc32c(crc, $0.baseAddress, $0.count)
    }
    return exzo_crc32c(crc, bytes.baseAddress, bytes.count)
  }
}

/// Who an object is: the first 64 bytes, repeated in the footer.
struct EnvelopeHeader: Equatable, Sendable {
  var kind: Envelope.Kind
  var keyID: UInt32
  var id: ObjectID
  /// 24 bytes; zeros where nothing is sealed.
  var nonce: [UInt8]

  var encoded: [UInt8] {
    var writer = BinaryWriter()
    writer.append(Envelope.headerMagic)
    writer.append(Envelope.version)
    writer.append(kind.rawValue)
    writer.append(keyID)
    writer.append(UInt32(0))
    writer.append(id.value)
    writer.append(raw: nonce)
    writer.append(UInt32(0))
    let crc = writer.bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, $0.count) }
    writer.append(crc)
    return writer.bytes
  }

  /// Reads a header and checks that it is that of the object `key` of the given kind.
  init(_ bytes: [UInt8], key: ObjectKey, kind: Envelope.Kind) throws {
    let operation = "read header of"
    func fail(_ code: HistoryError.Code, _ detail: String) -> HistoryError {
      HistoryError(code, operation: operation, key: key.name, detail: detail)
    }
    guard bytes.count == Envelope.headerSize else { throw fail(.damaged, "object too short") }
    let crc = bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, Envelope.headerSize - 4) }
    var reader = BinaryReader(bytes)
    guard try reader.read(UInt32.self) == Envelope.headerMagic else {
      throw fail(.damaged, "no envelope begins here")
    }
    let version = try reader.read(UInt16.self)
    let foundKind = try reader.read(UInt16.self)
    let keyID = try reader.read(UInt32.self)
    _ = try reader.read(UInt32.self)
    let id = ObjectID(value: try reader.read(UInt128.self))
    let nonce = try reader.readBytes(Envelope.nonceSize)
    _ = try reader.read(UInt32.self)
    let stored = try reader.read(UInt32.self)
    guard stored == crc else {
      throw fail(.damaged, "header checksum \(stored), computed \(crc)")
    }
    guard version == Envelope.version else {
      throw fail(
        .unsupportedVersion,
        "format version \(version), made by a later version of Exzo; this one reads \(Envelope.version)"
      )
    }
    guard foundKind == kind.rawValue, id == ObjectID(of: key) else {
      throw fail(.wrongObject, "kind \(foundKind), identity \(String(id.value, radix: 16))")
    }
    self.init(kind: kind, keyID: keyID, id: id, nonce: nonce)
  }

  init(kind: Envelope.Kind, keyID: UInt32, id: ObjectID, nonce: [UInt8]) {
    self.kind = kind
    self.keyID = keyID
    self.id = id
    self.nonce = nonce
  }
}

/// One part of an object: where it lies and how it is checked.
struct PartEntry: Equatable, Sendable {
  var offset: UInt64
  /// Bytes in the object.
  var storedLength: UInt32
  /// Bytes once opened and decompressed.
  var plainLength: UInt32
  /// ``Envelope/checksum(_:object:offset:)`` of the stored bytes.
  var crc: UInt32
  /// What the part holds; each kind of object has its own numbers.
  var type: UInt8
  var isCompressed: Bool

  var storedRange: Range<UInt64> { offset..<offset + UInt64(storedLength) }
}
