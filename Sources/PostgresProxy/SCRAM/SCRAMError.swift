/// Why a SCRAM exchange ended without a login. Bytes come from outside, so all of them are
/// ordinary.
enum SCRAMError: Error, Equatable {
  /// The peer broke the grammar; says where.
  case malformed(String)
  /// The peer asked for what is not offered; says what.
  case unsupported(String)
  /// The channel binding is not that of this connection: someone stands in between.
  case wrongChannelBinding
  /// The proof or the signature is wrong.
  case rejected
}

/// The comma-separated attributes of a SCRAM message (RFC 5802 section 5.1), read one by one.
struct SCRAMAttributes {
  private var rest: Substring

  init(_ text: Substring) { rest = text }

  var isAtEnd: Bool { rest.isEmpty }

  /// The value of the next attribute, which must be `name`.
  mutating func value(of name: Character) throws(SCRAMError) -> Substring {
    guard rest.first == name, rest.dropFirst().first == "=" else {
      throw .malformed("attribute '\(name)' expected")
    }
    let body = rest.dropFirst(2)
    let value = body.prefix { $0 != "," }
    rest = body.dropFirst(value.count)
    if rest.first == "," {
      rest = rest.dropFirst()
      guard !rest.isEmpty else { throw .malformed("a comma at the end") }
    }
    return value
  }

  /// Skips optional extensions up to attribute `name`; a mandatory one (`m=`) is refused.
  mutating func skipExtensions(before name: Character) throws(SCRAMError) {
    while let next = rest.first, next != name {
      guard next.isASCII, next.isLetter, next != "m" else {
        throw .unsupported("SCRAM extension '\(next)'")
      }
      _ = try value(of: next)
    }
  }
}

extension Substring {
  /// True when all of it may stand in a nonce: printable ASCII without the comma.
  var isPrintableNonce: Bool {
    !isEmpty && utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != 0x2C }
  }
}
