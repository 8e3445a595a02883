import CCRC32C
import ObjectStorage

/// The last 96 bytes of an object: its header once more, and where its directory lies.
struct EnvelopeFooter: Equatable, Sendable {
  var header: EnvelopeHeader
  var directoryOffset: UInt64
  var directoryLength: UInt32
  var directoryCRC: UInt32
  var partCount: UInt32

  init(
    header: EnvelopeHeader, directoryOffset: UInt64, directoryLength: UInt32,
    directoryCRC: UInt32, partCount: UInt32
  ) {
    self.header = header
    self.directoryOffset = directoryOffset
    self.directoryLength = directoryLength
    self.directoryCRC = directoryCRC
    self.partCount = partCount
  }

  var encoded: [UInt8] {
    var writer = BinaryWriter()
    writer.append(raw: header.encoded)
    writer.append(directoryOffset)
    writer.append(directoryLength)
    writer.append(directoryCRC)
    writer.append(partCount)
    writer.append(UInt32(0))
    let crc = writer.bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, $0.count) }
    writer.append(crc)
    writer.append(Envelope.footerMagic)
    return writer.bytes
  }

  /// Reads the footer of the object `key`, which has `size` bytes.
  init(_ bytes: [UInt8], key: ObjectKey, kind: Envelope.Kind, size: UInt64) throws {
    func damaged(_ detail: String) -> HistoryError {
      HistoryError(.damaged, operation: "read footer of", key: key.name, detail: detail)
    }
    let minimum = UInt64(Envelope.headerSize + Envelope.footerSize)
    guard bytes.count == Envelope.footerSize, size >= minimum else {
      throw damaged("object of \(size) bytes is too short")
    }
    let crc = bytes.withUnsafeBytes { exzo_crc32c(0, $0.baseAddress, Envelope.footerSize - 8) }
    var reader = BinaryReader(Array(bytes[Envelope.headerSize...]))
    directoryOffset = try reader.read()
    directoryLength = try reader.read()
    directoryCRC = try reader.read()
    partCount = try reader.read()
    _ = try reader.read(UInt32.self)
    let storedCRC = try reader.read(UInt32.self)
    guard try reader.read(UInt32.self) == Envelope.footerMagic else {
      throw damaged("no envelope ends here: the object is cut or damaged")
    }
    guard storedCRC == crc else { throw damaged("checksum \(storedCRC), computed \(crc)") }
    header = try EnvelopeHeader(Array(bytes[..<Envelope.headerSize]), key: key, kind: kind)
    let directorySize = size - minimum
    guard directoryOffset >= Envelope.headerSize, UInt64(directoryLength) <= directorySize,
      directoryOffset == size - UInt64(Envelope.footerSize) - UInt64(directoryLength)
    else {
      throw damaged("directory at \(directoryOffset)+\(directoryLength) of \(size) bytes")
    }
  }

  var directoryRange: Range<UInt64> {
    directoryOffset..<directoryOffset + UInt64(directoryLength)
  }
}
