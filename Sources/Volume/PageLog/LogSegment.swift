import CCRC32C
import DurableIO

/// One file of the page log. Whoever holds the object can read it, even after its name is gone.
final class LogSegment: Sendable {
  static let headerSize = 64

  let number: UInt32
  let file: any OpenFile

  init(number: UInt32, file: any OpenFile) {
    self.number = number
    self.file = file
  }

  static func path(_ directory: String, _ number: UInt32) -> String {
    let digits = String(number, radix: 16)
    return "\(directory)/\(String(repeating: "0", count: 8 - digits.count))\(digits)"
  }

  static func number(ofName name: String) -> UInt32? {
    name.utf8.count == 8 ? UInt32(name, radix: 16) : nil
  }
}

/// The first 64 bytes of a segment.
struct LogSegmentHeader: Equatable {
  static let magic: UInt64 = 0x3147_4553_4F5A_5845  // "EXZOSEG1"
  var number: UInt32
  var firstSequence: UInt64
  var durableSequence: UInt64

  func encode(into header: UnsafeMutableRawBufferPointer, seed: UInt32) {
    header.initializeMemory(as: UInt8.self, repeating: 0)
    header.store(Self.magic, at: 0)
    header.store(number, at: 12)
    header.store(firstSequence, at: 16)
    header.store(durableSequence, at: 24)
    header.store(exzo_crc32c(seed, header.baseAddress! + 12, 52), at: 8)
  }

  init(number: UInt32, firstSequence: UInt64, durableSequence: UInt64) {
    self.number = number
    self.firstSequence = firstSequence
    self.durableSequence = durableSequence
  }

  init?(decoding bytes: UnsafeRawBufferPointer, seed: UInt32) {
    guard bytes.count >= LogSegment.headerSize, bytes.load(UInt64.self, at: 0) == Self.magic,
      exzo_crc32c(seed, bytes.baseAddress! + 12, 52) == bytes.load(UInt32.self, at: 8)
    else { return nil }
    number = bytes.load(UInt32.self, at: 12)
    firstSequence = bytes.load(UInt64.self, at: 16)
    durableSequence = bytes.load(UInt64.self, at: 24)
  }
}
