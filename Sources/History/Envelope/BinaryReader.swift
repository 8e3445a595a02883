/// Reads what ``BinaryWriter`` wrote; every read is checked against the end, none traps.
struct BinaryReader {
  /// The bytes ended early or say something impossible.
  struct Malformed: Error {
    var offset: Int
    var expected: String
  }

  private let bytes: [UInt8]
  private(set) var offset = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { offset == bytes.count }

  mutating func read<Value: FixedWidthInteger>(_: Value.Type = Value.self) throws -> Value {
    let width = MemoryLayout<Value>.size
    guard bytes.count - offset >= width else { throw malformed("\(width) bytes") }
    let value = bytes.withUnsafeBytes {
      $0.loadUnaligned(fromByteOffset: offset, as: Value.self)
    }
    offset += width
    return Value(littleEndian: value)
  }

  mutating func readVarint() throws -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      guard offset < bytes.count, shift < 64 else { throw malformed("a varint") }
      let byte = bytes[offset]
      offset += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte & 0x80 == 0 { return value }
      shift += 7
    }
  }

  mutating func readSignedVarint() throws -> Int64 {
    let value = try readVarint()
    return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
  }

  /// A varint that must fit the type, such as a count or a block number.
  mutating func readVarint<Value: FixedWidthInteger>(as _: Value.Type) throws -> Value {
    let value = try readVarint()
    guard let fitting = Value(exactly: value) else { throw malformed("a smaller number") }
    return fitting
  }

  /// A count of things that take at least `minimumSize` bytes each: more cannot follow.
  mutating func readCount(minimumSize: Int = 1) throws -> Int {
    let count = try readVarint(as: Int.self)
    guard count <= (bytes.count - offset) / max(minimumSize, 1) else {
      throw malformed("a count that fits what follows")
    }
    return count
  }

  mutating func readBytes(_ count: Int) throws -> [UInt8] {
    guard count >= 0, bytes.count - offset >= count else { throw malformed("\(count) bytes") }
    defer { offset += count }
    return Array(bytes[offset..<offset + count])
  }

  mutating func readString() throws -> String {
    let raw = try readBytes(readCount())
    guard let string = String(validating: raw, as: UTF8.self) else { throw malformed("UTF-8") }
    return string
  }

  func malformed(_ expected: String) -> Malformed {
    Malformed(offset: offset, expected: expected)
  }

  /// Runs `decode` over all of `bytes`, and names the object where they are malformed.
  static func decode<Value>(
    _ bytes: [UInt8], key: String, operation: String,
    _ decode: (inout BinaryReader) throws -> Value
  ) throws -> Value {
    var reader = BinaryReader(bytes)
    do {
      let value = try decode(&reader)
      guard reader.isAtEnd else { throw reader.malformed("the end") }
      return value
    } catch let error as Malformed {
      throw HistoryError(
        .damaged, operation: operation, key: key,
        detail: "expected \(error.expected) at byte \(error.offset) of \(bytes.count)")
    }
  }
}
