import ObjectStorage

/// Builds an object part by part.
///
/// What has been built collects in ``pending`` and may be taken away at any time, so that an
/// object of a gigabyte needs no more memory than its largest part and its directory.
struct EnvelopeWriter {
  private let header: EnvelopeHeader
  private var directory = BinaryWriter()
  private(set) var partCount: UInt32 = 0
  /// Bytes built so far, those taken away included.
  private(set) var size: UInt64 = 0
  private(set) var pending: [UInt8] = []
  private var scratch: [UInt8] = []

  init(kind: Envelope.Kind, key: ObjectKey) {
    header = EnvelopeHeader(
      kind: kind, keyID: 0, id: ObjectID(of: key),
      nonce: [UInt8](repeating: 0, count: Envelope.nonceSize))
    append(header.encoded)
  }

  /// Takes what has been built since the last call.
  mutating func takePending() -> [UInt8] {
    defer { pending = [] }
    return pending
  }

  /// As ``takePending()``, keeping the buffer's memory for what follows.
  mutating func drain(_ body: (UnsafeRawBufferPointer) throws -> Void) rethrows {
    try pending.withUnsafeBytes(body)
    pending.removeAll(keepingCapacity: true)
  }

  mutating func addPart(type: UInt8, _ plain: [UInt8], level: Int32 = 1) throws {
    try plain.withUnsafeBytes { try addPart(type: type, $0, level: level) }
  }

  /// Adds a part, compressed where that makes it smaller.
  mutating func addPart(
    type: UInt8, _ plain: UnsafeRawBufferPointer, level: Int32 = 1
  ) throws {
    precondition(plain.count <= Envelope.maximumPartSize, "part of \(plain.count) bytes")
    let bound = Zstd.bound(plain.count)
    if scratch.count < bound { scratch = [UInt8](repeating: 0, count: bound) }
    let count = try scratch.withUnsafeMutableBytes {
      try Zstd.compress(plain, into: $0, level: level)
    }
    if count < plain.count {
      scratch.withUnsafeBytes {
        add(
          type: type, stored: UnsafeRawBufferPointer(rebasing: $0[..<count]), plain: plain.count,
          isCompressed: true)
      }
    } else {
      add(type: type, stored: plain, plain: plain.count, isCompressed: false)
    }
  }

  /// Adds a part as another object has it stored.
  mutating func add(
    type: UInt8, stored: UnsafeRawBufferPointer, plain: Int, isCompressed: Bool
  ) {
    let offset = size
    let start = pending.count
    pending.append(contentsOf: stored)
    let length = pending.count - start
    let crc = pending.withUnsafeBytes {
      Envelope.checksum(
        UnsafeRawBufferPointer(rebasing: $0[start...]), object: header.id, offset: offset)
    }
    size += UInt64(length)
    directory.append(offset)
    directory.append(UInt32(length))
    directory.append(UInt32(plain))
    directory.append(crc)
    directory.append(type)
    directory.append(UInt8(isCompressed ? 1 : 0))
    directory.append(UInt16(0))
    partCount += 1
  }

  /// Adds the directory and the footer. Nothing may be added after.
  mutating func finish() throws {
    let stored = directory.bytes
    let offset = size
    let crc = stored.withUnsafeBytes {
      Envelope.checksum($0, object: header.id, offset: offset)
    }
    append(stored)
    let footer = EnvelopeFooter(
      header: header, directoryOffset: offset, directoryLength: UInt32(stored.count),
      directoryCRC: crc, partCount: partCount)
    append(footer.encoded)
  }

  private mutating func append(_ bytes: [UInt8]) {
    pending.append(contentsOf: bytes)
    size += UInt64(bytes.count)
  }
}
