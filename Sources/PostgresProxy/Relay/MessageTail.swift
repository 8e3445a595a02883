import NIOCore

/// The last bytes that a server sent: enough to see that it waits for the client.
///
/// The relay does not follow message boundaries, which would cost on every row. Between messages,
/// a server that waits has `ReadyForQuery` (`Z`, length 5, status) as its last bytes; six bytes
/// that end a stream anywhere else and look the same are possible and rare, and what they lead to
/// is an error message inside a result that was cut off anyway.
struct MessageTail {
  private var last: UInt64 = 0

  mutating func append(_ bytes: ByteBuffer) {
    let end = bytes.writerIndex
    if bytes.readableBytes >= 8, let word = bytes.getInteger(at: end - 8, as: UInt64.self) {
      last = word
      return
    }
    for byte in bytes.readableBytesView { last = last << 8 | UInt64(byte) }
  }

  /// The transaction status of the `ReadyForQuery` at the end, if there is one.
  private var status: UInt8? {
    last & 0xFFFF_FFFF_FF00 == 0x5A00_0000_0500 ? UInt8(truncatingIfNeeded: last) : nil
  }

  /// The next message may begin here.
  var isAtBoundary: Bool { status.map { "ITE".utf8.contains($0) } ?? false }

  /// As ``isAtBoundary``, and no transaction is open.
  var isIdle: Bool { status == UInt8(ascii: "I") }
}

extension ByteBuffer {
  /// Whether its last bytes are a `Terminate` message: the client says good-bye.
  var endsWithTerminate: Bool {
    getInteger(at: writerIndex - 4, as: UInt32.self) == 4
      && getInteger(at: writerIndex - 5, as: UInt8.self) == UInt8(ascii: "X")
  }
}
