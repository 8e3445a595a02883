import Crypto

/// A block of an object in a cache file: a header of 32 bytes, then the block's bytes.
///
/// A slot counts only if its header fits the object, the block and the bytes: what a crash tore, or
/// left as zeros, does not.
enum CacheSlot {
  /// Bytes of an object a slot holds; fewer only at the object's end.
  static let blockSize = 16 << 10
  static let headerSize = 32
  static let size = headerSize + blockSize
  private static let magic: UInt32 = 0x5843_5A45  // "EZCX"

  static func blocks(_ range: Range<UInt64>) -> Range<UInt64> {
    let size = UInt64(blockSize)
    return range.lowerBound / size..<(range.upperBound + size - 1) / size
  }

  /// Bytes of block `number` in an object of `objectSize` bytes.
  static func length(_ number: UInt64, objectSize: UInt64) -> Int {
    let start = number * UInt64(blockSize)
    return Int(min(UInt64(blockSize), objectSize > start ? objectSize - start : 0))
  }

  /// - Parameter identity: of the object, 8 bytes of a hash of its key.
  static func encode(
    _ bytes: ArraySlice<UInt8>, identity: UInt64, number: UInt64, objectSize: UInt64
  ) -> [UInt8] {
    var slot: [UInt8] = []
    slot.reserveCapacity(size)
    withUnsafeBytes(of: magic.littleEndian) { slot += $0 }
    slot += [0, 0, 0, 0]
    for value in [identity, number, objectSize] {
      withUnsafeBytes(of: value.littleEndian) { slot += $0 }
    }
    slot += bytes
    let crc = crc32c(slot)
    withUnsafeBytes(of: crc.littleEndian) { slot.replaceSubrange(4..<8, with: $0) }
    return slot
  }

  /// The object's size and the range of the block's bytes in `slot`, or `nil` where it does not
  /// count.
  static func decode(
    _ slot: UnsafeRawBufferPointer, identity: UInt64, number: UInt64
  ) -> (objectSize: UInt64, length: Int)? {
    guard slot.count >= headerSize,
      UInt32(littleEndian: slot.loadUnaligned(as: UInt32.self)) == magic
    else { return nil }
    func value(_ offset: Int) -> UInt64 {
      UInt64(littleEndian: slot.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
    let objectSize = value(24)
    let length = length(number, objectSize: objectSize)
    guard value(8) == identity, value(16) == number, slot.count >= headerSize + length else {
      return nil
    }
    let stored = UInt32(littleEndian: slot.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    var crc = crc32c(UnsafeRawBufferPointer(rebasing: slot[..<4]))
    crc = crc32c([0, 0, 0, 0], from: crc)
    crc = crc32c(UnsafeRawBufferPointer(rebasing: slot[8..<headerSize + length]), from: crc)
    return crc == stored ? (objectSize, length) : nil
  }
}

/// The name of an object's file in a cache, and what its slots say they belong to.
struct CacheIdentity {
  let fileName: String
  let number: UInt64

  init(_ key: ObjectKey) {
    let digest = Array(SHA256.hash(data: Array(key.name.utf8)))
    fileName = "\(hexadecimal(digest[..<1]))/\(hexadecimal(digest[1..<20]))"
    number = digest[20..<28].reduce(0) { $0 << 8 | UInt64($1) }
  }
}
