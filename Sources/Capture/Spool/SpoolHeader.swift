import CCRC32C
import History
import PostgresFormat

/// Whose WAL a spool directory holds: the file `spool`, docs/formats/wal-spool.md.
struct SpoolHeader: Equatable {
  static let magic = Array("EXZOSPOL".utf8)
  static let version: UInt32 = 1
  static let length = 64
  static let lineLength = 28

  var line: LineID
  var systemIdentifier: UInt64
  /// Bytes of a segment file.
  var segmentSize: UInt32
  /// The spool holds nothing below; bytes of the first segment file before it are zeros.
  var startLSN: LSN

  var encoded: [UInt8] {
    var bytes = SpoolHeader.magic
    func append(_ value: some FixedWidthInteger) {
      withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    append(SpoolHeader.version)
    append(segmentSize)
    append(systemIdentifier)
    append(startLSN.rawValue)
    let name = Array(line.rawValue.utf8.prefix(SpoolHeader.lineLength))
    bytes += name + [UInt8](repeating: 0, count: SpoolHeader.lineLength - name.count)
    append(exzo_crc32c(0, bytes, bytes.count))
    return bytes
  }

  init(line: LineID, systemIdentifier: UInt64, segmentSize: UInt32, startLSN: LSN) {
    self.line = line
    self.systemIdentifier = systemIdentifier
    self.segmentSize = segmentSize
    self.startLSN = startLSN
  }

  /// - Throws: ``CaptureError`` `.spoolFormat`.
  init(bytes: [UInt8], path: String) throws {
    func malformed(_ what: String) -> CaptureError {
      CaptureError(.spoolFormat, "open spool '\(path)'", detail: what)
    }
    guard bytes.count == SpoolHeader.length, Array(bytes[..<8]) == SpoolHeader.magic else {
      throw malformed("not a spool header of \(SpoolHeader.length) bytes")
    }
    let found = bytes.withUnsafeBytes { raw in
      (
        version: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt32.self)),
        segment: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: 12, as: UInt32.self)),
        system: UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
        start: UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: 24, as: UInt64.self)),
        crc: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: 60, as: UInt32.self))
      )
    }
    guard found.crc == exzo_crc32c(0, bytes, 60) else { throw malformed("checksum is wrong") }
    guard found.version == SpoolHeader.version else {
      throw malformed(
        "version \(found.version), made by a later version of Exzo; this one reads \(SpoolHeader.version)"
      )
    }
    guard WALSegment.isValidSize(UInt64(found.segment)) else {
      throw malformed("segment size \(found.segment)")
    }
    let name = bytes[32..<60].prefix { $0 != 0 }
    self.init(
      line: LineID(rawValue: String(decoding: name, as: UTF8.self)),
      systemIdentifier: found.system, segmentSize: found.segment, startLSN: LSN(found.start))
  }
}
