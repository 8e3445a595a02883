import CCRC32C

/// What a log record says. Raw values are on disk.
enum LogRecordKind: UInt8 {
  /// Whole blocks from byte `argument`; the file's size is then `second`.
  case write = 1
  /// The file's size becomes `argument`; the payload, if any, is the new last block.
  case truncate = 2
  /// `file` is made in directory `argument`; `second` is kind << 16 | mode; payload name, target.
  case create = 3
  /// Entry `name` of directory `argument`, which is `file`, goes away.
  case remove = 4
  /// `file` moves from directory `argument` to `second`; payload old name, new name.
  case rename = 5
  /// `second`: permission bits | 1 << 16 where they are set | 1 << 17 where `modified` is set.
  case setAttributes = 6
  /// Epoch `argument` ends here; `second` is the next identity to give out.
  case seal = 7
  /// Epoch `argument` is durable elsewhere or unwanted.
  case forget = 8
  /// What was written to `file` and is provisional counts.
  case confirm = 9
  /// What is provisional and came before this counts no more: a crash took it back.
  case retract = 10
}

/// A log record without its payload: the 64 bytes before it. See docs/formats/page-log.md.
struct LogRecord: Equatable {
  static let magic: UInt32 = 0x524C_5845  // "EXLR"
  static let headerSize = 64
  static let maximumPayload = 1 << 20
  static let alignment = 16

  var kind: LogRecordKind
  /// The file was already unlinked: nothing to replay.
  var isOrphan = false
  /// A write of blocks that count only after a later `confirm` or `seal`: see ``Volume/holdBack(until:)``.
  var isProvisional = false
  var file = FileID(0)
  var argument: UInt64 = 0
  var second: UInt64 = 0
  var modified: Int64 = 0
  var payloadSize = 0
  var sequence: UInt64 = 0
  /// Every record up to this sequence was durable when this one was appended.
  var durableSequence: UInt64 = 0

  init(_ kind: LogRecordKind, file: FileID = FileID(0), argument: UInt64 = 0, second: UInt64 = 0) {
    self.kind = kind
    self.file = file
    self.argument = argument
    self.second = second
  }

  /// Bytes from this record's start to the next one's.
  static func span(payload: Int) -> Int {
    (headerSize + payload + alignment - 1) & ~(alignment - 1)
  }

  /// Writes the header with its checksum into 64 bytes.
  func encode(
    into header: UnsafeMutableRawBufferPointer, payload: UnsafeRawBufferPointer, seed: UInt32
  ) {
    header.store(Self.magic, at: 0)
    header.store(sequence, at: 8)
    header.store(durableSequence, at: 16)
    header.store(file.rawValue, at: 24)
    header.store(argument, at: 32)
    header.store(second, at: 40)
    header.store(UInt32(payload.count), at: 48)
    header.store(flags, at: 52)
    header.store(modified, at: 56)
    let bytes = UnsafeRawBufferPointer(header)
    header.store(Self.checksum(header: bytes, payload: payload, seed: seed), at: 4)
  }

  private var flags: UInt32 {
    UInt32(kind.rawValue) | (isOrphan ? 1 << 8 : 0) | (isProvisional ? 1 << 9 : 0)
  }

  /// Reads and verifies the record at the start of `bytes`; `nil` where there is none or it is
  /// damaged.
  init?(decoding bytes: UnsafeRawBufferPointer, seed: UInt32) {
    guard bytes.count >= Self.headerSize, bytes.load(UInt32.self, at: 0) == Self.magic else {
      return nil
    }
    let size = Int(bytes.load(UInt32.self, at: 48))
    let flags = bytes.load(UInt32.self, at: 52)
    guard size <= Self.maximumPayload, bytes.count >= Self.headerSize + size, flags >> 10 == 0,
      let kind = LogRecordKind(rawValue: UInt8(truncatingIfNeeded: flags))
    else { return nil }
    let header = UnsafeRawBufferPointer(rebasing: bytes[..<Self.headerSize])
    let payload = UnsafeRawBufferPointer(rebasing: bytes[Self.headerSize..<Self.headerSize + size])
    guard
      Self.checksum(header: header, payload: payload, seed: seed) == bytes.load(UInt32.self, at: 4)
    else { return nil }
    self.kind = kind
    isOrphan = flags & (1 << 8) != 0
    isProvisional = flags & (1 << 9) != 0
    sequence = bytes.load(UInt64.self, at: 8)
    durableSequence = bytes.load(UInt64.self, at: 16)
    file = FileID(bytes.load(UInt64.self, at: 24))
    argument = bytes.load(UInt64.self, at: 32)
    second = bytes.load(UInt64.self, at: 40)
    modified = bytes.load(Int64.self, at: 56)
    payloadSize = size
  }

  private static func checksum(
    header: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer, seed: UInt32
  ) -> UInt32 {
    let body = exzo_crc32c(seed, payload.baseAddress, payload.count)
    return exzo_crc32c(body, header.baseAddress! + 8, headerSize - 8)
  }
}

extension UnsafeRawBufferPointer {
  /// A little-endian integer at `offset`, which need not be aligned.
  func load<Value: FixedWidthInteger & BitwiseCopyable>(_: Value.Type, at offset: Int) -> Value {
    Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
  }
}

extension UnsafeMutableRawBufferPointer {
  func store<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, at offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
  }
}
