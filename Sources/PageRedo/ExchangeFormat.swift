import PostgresFormat

/// The memory that pool and worker share. See docs/formats/redo-exchange.md and
/// Extension/exchange.h.
enum ExchangeFormat {
  static let magic: UInt32 = 0x4452_5845
  static let version: UInt32 = 1

  /// The batch's header.
  enum Header {
    static let length = 64
    static let magic = 0
    static let version = 4
    static let requests = 8
    static let seconds = 12
    static let used = 16
    static let completed = 24
  }

  /// A request: header, page, records.
  enum Request {
    static let headerLength = 64
    static let page = 64
    static let records = 64 + PostgresLayout.blockSize
    static let length = 0
    static let tablespace = 8
    static let database = 12
    static let relation = 16
    static let block = 20
    static let fork = 24
    static let flags = 28
    static let recordCount = 32
    static let outcome = 36
    static let recordLSN = 40
    static let pageLSN = 48
    static let applied = 56
    static let already = 60
  }

  enum Record {
    static let headerLength = 24
    static let startLSN = 0
    static let endLSN = 8
    static let length = 16

    /// Bytes of a record of `length` bytes, header and padding included.
    static func footprint(_ length: Int) -> Int { headerLength + (length + 7) & ~7 }
  }

  enum Outcome {
    static let none: UInt32 = 0
    static let page: UInt32 = 1
    static let zero: UInt32 = 2
    static let refused: UInt32 = 3
    static let failed: UInt32 = 4
  }

  /// What the worker says on its channel.
  enum Word {
    static let ready = UInt8(ascii: "r")
    static let run = UInt8(ascii: "b")
    static let done = UInt8(ascii: "d")
    static let ended = UInt8(ascii: "e")
  }
}

extension UnsafeRawPointer {
  func number<T: FixedWidthInteger>(_ offset: Int, as type: T.Type = T.self) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
  }
}

extension UnsafeMutableRawPointer {
  func number<T: FixedWidthInteger>(_ offset: Int, as type: T.Type = T.self) -> T {
    UnsafeRawPointer(self).number(offset, as: type)
  }

  func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }
}
