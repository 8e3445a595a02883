import ObjectStorage

/// The parts of one object, as its checked directory lists them.
struct PartDirectory: Sendable {
  let key: ObjectKey
  let header: EnvelopeHeader
  /// Entries as stored, 24 bytes each: an object of a gigabyte has 16,384 of them.
  private let bytes: [UInt8]
  let count: Int

  /// - Parameter stored: the bytes of the footer's ``EnvelopeFooter/directoryRange``.
  init(stored: [UInt8], footer: EnvelopeFooter, key: ObjectKey) throws {
    let crc = stored.withUnsafeBytes {
      Envelope.checksum($0, object: footer.header.id, offset: footer.directoryOffset)
    }
    func damaged(_ detail: String) -> HistoryError {
      HistoryError(.damaged, operation: "read directory of", key: key.name, detail: detail)
    }
    guard crc == footer.directoryCRC else {
      throw damaged("checksum \(footer.directoryCRC), computed \(crc)")
    }
    guard footer.header.keyID == 0 else {
      throw HistoryError(
        .unknownKey, operation: "read directory of", key: key.name,
        detail: "key \(footer.header.keyID)")
    }
    guard stored.count == Int(footer.partCount) * Envelope.entrySize else {
      throw damaged("\(stored.count) bytes for \(footer.partCount) parts")
    }
    self.key = key
    header = footer.header
    bytes = stored
    count = Int(footer.partCount)
    for index in 0..<count { try check(index, end: footer.directoryOffset) }
  }

  private func check(_ index: Int, end: UInt64) throws {
    let entry = self[index]
    let (last, overflow) = entry.offset.addingReportingOverflow(UInt64(entry.storedLength))
    guard !overflow, entry.offset >= Envelope.headerSize, last <= end,
      Int(entry.plainLength) <= Envelope.maximumPartSize,
      entry.isCompressed || entry.storedLength == entry.plainLength
    else {
      throw HistoryError(
        .damaged, operation: "read directory of", key: key.name,
        detail: "part \(index) at \(entry.offset)+\(entry.storedLength) ends after \(end)")
    }
  }

  /// The entry of a part; traps where there is no such part.
  subscript(index: Int) -> PartEntry {
    precondition((0..<count).contains(index), "part \(index) of \(count)")
    return bytes.withUnsafeBytes { raw in
      let base = index * Envelope.entrySize
      func number<Value: FixedWidthInteger>(_ offset: Int) -> Value {
        Value(littleEndian: raw.loadUnaligned(fromByteOffset: base + offset, as: Value.self))
      }
      return PartEntry(
        offset: number(0), storedLength: number(8), plainLength: number(12), crc: number(16),
        type: number(20), isCompressed: (number(21) as UInt8) & 1 != 0)
    }
  }

  /// The first part of a type.
  func first(type: UInt8) -> Int? { (0..<count).first { self[$0].type == type } }

  /// Checks a part's stored bytes, decompresses them into `target`, whose size must be
  /// the part's plain length.
  func decode(
    _ index: Int, stored: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
  ) throws {
    let entry = self[index]
    precondition(target.count == Int(entry.plainLength))
    try verify(index, stored: stored)
    try expand(index, entry, stored, into: target)
  }

  /// Checks a part's stored bytes.
  func verify(_ index: Int, stored: UnsafeRawBufferPointer) throws {
    let entry = self[index]
    let crc = Envelope.checksum(stored, object: header.id, offset: entry.offset)
    guard stored.count == Int(entry.storedLength), crc == entry.crc else {
      throw damaged(index, "checksum \(entry.crc), computed \(crc) over \(stored.count) bytes")
    }
  }

  private func expand(
    _ index: Int, _ entry: PartEntry, _ bytes: UnsafeRawBufferPointer,
    into target: UnsafeMutableRawBufferPointer
  ) throws {
    if !entry.isCompressed {
      guard bytes.count == target.count else {
        throw damaged(index, "\(bytes.count) bytes, not \(target.count)")
      }
      if bytes.count > 0 { target.copyMemory(from: bytes) }
      return
    }
    let count: Int
    do {
      count = try Zstd.decompress(bytes, into: target)
    } catch let failure as Zstd.Failure {
      throw damaged(index, failure.message)
    }
    guard count == target.count else {
      throw damaged(index, "\(count) bytes decompressed, not \(target.count)")
    }
  }

  private func damaged(_ index: Int, _ detail: String) -> HistoryError {
    HistoryError(.damaged, operation: "read part \(index) of", key: key.name, detail: detail)
  }
}
