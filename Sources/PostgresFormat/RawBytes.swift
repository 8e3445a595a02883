/// Little-endian loads at any alignment. The caller has checked the bounds.
extension UnsafeRawPointer {
  @inline(__always)
  func u8(_ offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }
  @inline(__always)
  func u16(_ offset: Int) -> UInt16 {
    UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }
  @inline(__always)
  func u32(_ offset: Int) -> UInt32 {
    UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
  @inline(__always)
  func u64(_ offset: Int) -> UInt64 {
    UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}

/// A cursor over bytes from outside: every read is checked, and one past the end answers nil.
struct ByteCursor {
  private let bytes: UnsafeRawBufferPointer
  private(set) var offset = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  var remaining: Int { bytes.count - offset }

  func window(_ range: Range<Int>) -> Slice<UnsafeRawBufferPointer> { bytes[range] }

  mutating func skip(_ count: Int) -> Bool {
    guard count >= 0, count <= remaining else { return false }
    offset += count
    return true
  }

  mutating func u8() -> UInt8? {
    guard remaining >= 1 else { return nil }
    defer { offset += 1 }
    return bytes[offset]
  }

  mutating func u16() -> UInt16? { integer(UInt16.self) }
  mutating func u32() -> UInt32? { integer(UInt32.self) }
  mutating func u64() -> UInt64? { integer(UInt64.self) }
  mutating func i64() -> Int64? { integer(UInt64.self).map { Int64(bitPattern: $0) } }

  /// A count that PostgreSQL stores as a signed 32-bit number of items of `stride` bytes each; nil
  /// when it is negative or the items do not fit in what remains.
  mutating func count(ofStride stride: Int) -> Int? {
    guard let raw = u32(), let count = Int(exactly: Int32(bitPattern: raw)), count >= 0,
      count <= remaining / stride
    else { return nil }
    return count
  }

  /// The bytes before the next NUL, which is consumed too; nil when there is none.
  mutating func cString() -> String? {
    guard let end = bytes[offset...].firstIndex(of: 0) else { return nil }
    defer { offset = end + 1 }
    return String(decoding: bytes[offset..<end], as: UTF8.self)
  }

  private mutating func integer<T: FixedWidthInteger>(_ type: T.Type) -> T? {
    guard remaining >= MemoryLayout<T>.size else { return nil }
    defer { offset += MemoryLayout<T>.size }
    return T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}

/// `number` as PostgreSQL prints bit patterns: hexadecimal with `0x`.
func hex(_ number: some BinaryInteger) -> String {
  "0x" + String(number, radix: 16, uppercase: true)
}

extension ByteCursor {
  mutating func locator() -> RelFileLocator? {
    guard remaining >= 12, let tablespace = u32(), let database = u32(), let relation = u32() else {
      return nil
    }
    return RelFileLocator(tablespace: tablespace, database: database, relation: relation)
  }

  /// `count` locators; the caller has checked that they fit.
  mutating func locators(_ count: Int) -> [RelFileLocator] {
    (0..<count).compactMap { _ in locator() }
  }

  /// `count` 32-bit numbers; the caller has checked that they fit.
  mutating func numbers(_ count: Int) -> [UInt32] {
    (0..<count).compactMap { _ in u32() }
  }

  /// A count stored as a signed 32-bit number, nil when negative.
  mutating func signedCount() -> Int? {
    guard let raw = u32() else { return nil }
    let count = Int(Int32(bitPattern: raw))
    return count >= 0 ? count : nil
  }

  mutating func bool() -> Bool? { u8().map { $0 != 0 } }

  /// Passes over padding up to a multiple of `alignment`. What is missing at the end is not padding
  /// that anyone reads, so only the offset within the bytes matters.
  mutating func align(_ alignment: Int) -> Bool {
    let padded = (offset + alignment - 1) / alignment * alignment
    return skip(min(padded - offset, remaining))
  }

  /// `count` bytes of text, up to the first NUL.
  mutating func text(_ count: Int) -> String? {
    guard count >= 0, count <= remaining else { return nil }
    let start = offset
    guard skip(count) else { return nil }
    return String(decoding: window(start..<offset).prefix { $0 != 0 }, as: UTF8.self)
  }
}
