/// Little-endian bytes of a structure that goes into a part of an object.
struct BinaryWriter {
  private(set) var bytes: [UInt8] = []

  mutating func append<Value: FixedWidthInteger>(_ value: Value) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func append(raw: [UInt8]) { bytes.append(contentsOf: raw) }

  /// LEB128: seven bits a byte, lowest first, the high bit set on all but the last.
  mutating func append(varint: UInt64) {
    var value = varint
    while value >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
      value >>= 7
    }
    bytes.append(UInt8(value))
  }

  /// A zigzag-mapped varint: 0, -1, 1, -2 … become 0, 1, 2, 3 ….
  mutating func append(signedVarint value: Int64) {
    append(varint: UInt64(bitPattern: (value << 1) ^ (value >> 63)))
  }

  /// Length as a varint, then UTF-8.
  mutating func append(string: String) {
    append(varint: UInt64(string.utf8.count))
    bytes.append(contentsOf: string.utf8)
  }
}
