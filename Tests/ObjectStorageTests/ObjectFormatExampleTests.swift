import Foundation
import Testing

@testable import ObjectStorage

/// The examples of docs/formats/sealed-object.md and docs/formats/object-cache.md, decoded.
@Suite struct ObjectFormatExampleTests {
  private func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.filter(\.isHexDigit)
    return stride(from: 0, to: digits.count, by: 2).compactMap {
      let start = digits.index(digits.startIndex, offsetBy: $0)
      return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)
    }
  }

  private let projectKey = [UInt8](repeating: 7, count: 32)
  private let key = ObjectKey("lines/ln-a/line")

  static let sealed = """
    45 58 5a 53 01 00 01 00 01 01 01 01 01 01 01 01
    01 01 01 01 00 01 02 03 04 05 06 07 08 09 0a 0b
    0c 0d 0e 0f 10 11 12 13 14 15 16 17 18 19 1a 1b
    1c 1d 1e 1f 05 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00 c3 8f 30 0e
    c7 01 40 93 8b 5c f2 fd 51 a4 5e a3 cf 5c dd 52
    e1 dd f4 0d e5
    """

  static let wrapped = """
    45 58 5a 4b 01 00 02 00 00 00 00 00 00 00 00 00
    00 00 00 00 10 bf 5c 5d 7c 4b 65 50 a1 86 b4 d1
    1e 79 53 25 5d f7 4f 4a 1a 5d a0 58 fc 69 ea 31
    16 f0 9e ce c8 bb 8d c0 53 38 a6 3c 27 a0 d6 60
    37 22 1b bb 35 2c 98 e3 39 1a 6c ed b1 0d 59 14
    09 42 cc f8 bd da c5 8b 10 d8 ee ed
    """

  static let slot = """
    45 5a 43 58 97 1f 10 76 2e f0 1e 27 4f 28 e8 c7
    02 00 00 00 00 00 00 00 05 80 00 00 00 00 00 00
    68 65 6c 6c 6f
    """

  @Test func sealedObject() throws {
    let stored = bytes(Self.sealed)
    let header = try SealedHeader(stored.prefix(80), key: key)
    #expect(header.plainSize == 5 && header.keyID == [UInt8](repeating: 1, count: 12))
    #expect(header.salt == Array(0..<32))
    let sealer = FrameSealer(header, projectKey: projectKey, name: key)
    #expect(
      try stored[80...].withUnsafeBytes { try sealer.open($0, firstFrame: 0) }
        == Array("hello".utf8))
    var again = sealer.header.encoded
    try Array("hello".utf8).withUnsafeBytes { try sealer.seal($0, firstFrame: 0, into: &again) }
    #expect(again == stored)
  }

  @Test func wrappedKey() throws {
    let master = MasterKey(bytes: [UInt8](repeating: 9, count: 32))
    let found = try WrappedKey(
      bytes(Self.wrapped), name: "exzo/names", masters: MasterKeys(current: master))
    #expect(
      found
        == WrappedKey(
          purpose: .names, id: [UInt8](repeating: 0, count: 12),
          bytes: [UInt8](repeating: 3, count: 32)))
  }

  @Test func cacheSlot() throws {
    let identity = CacheIdentity(key)
    let stored = bytes(Self.slot)
    let found = try #require(
      stored.withUnsafeBytes { CacheSlot.decode($0, identity: identity.number, number: 2) })
    #expect(found.objectSize == 32_773 && found.length == 5)
    #expect(Array(stored.suffix(5)) == Array("hello".utf8))
  }

  @Test func hiddenName() {
    let names = OpaqueNames(key: [UInt8](repeating: 5, count: 32))
    #expect(
      names.encode("wal/00000001-00000000000a")
        == "-MOqnX1WQ4tCtbT7xZS6-Sch4LQ/00000001-00000000000a")
  }
}
