import NIOCore

/// A message with a type byte: type, Int32 length (without the type), body.
struct TypedMessage: Equatable {
  var type: UInt8
  var body: ByteBuffer
  /// Type, length and body, to be passed on.
  var bytes: ByteBuffer
}

extension ByteBuffer {
  /// Takes one whole typed message; nil, and the buffer untouched, while bytes are missing.
  ///
  /// - Throws: ``ProxyRefusal`` when its length is out of `4...limit`.
  mutating func readTypedMessage(limit: Int) throws(ProxyRefusal) -> TypedMessage? {
    guard let type = getInteger(at: readerIndex, as: UInt8.self),
      let length = getInteger(at: readerIndex + 1, as: Int32.self)
    else { return nil }
    guard 4...limit ~= Int(length) else { throw .protocolViolation("invalid message length") }
    guard let bytes = readSlice(length: Int(length) + 1) else { return nil }
    var body = bytes
    body.moveReaderIndex(forwardBy: 5)
    return TypedMessage(type: type, body: body, bytes: bytes)
  }

  /// Writes a typed message whose length is known only after `body`.
  mutating func writeMessage(_ type: Character, _ body: (inout ByteBuffer) -> Void) {
    if let byte = type.asciiValue { writeInteger(byte) }
    let start = writerIndex
    writeInteger(Int32(0))
    body(&self)
    setInteger(Int32(writerIndex - start), at: start)
  }

  mutating func writeNullTerminated(_ text: some StringProtocol) {
    // A zero inside would end the field; texts of ours have none, texts of clients might.
    writeBytes(text.utf8.map { $0 == 0 ? UInt8(ascii: "?") : $0 })
    writeInteger(UInt8(0))
  }

  /// `AuthenticationXXX`: a code and its data.
  mutating func writeAuthentication(_ code: AuthenticationCode, _ text: String = "") {
    writeMessage("R") { body in
      body.writeInteger(code.rawValue)
      body.writeString(text)
    }
  }

  mutating func writeAuthenticationSASL(mechanisms: [String]) {
    writeMessage("R") { body in
      body.writeInteger(AuthenticationCode.sasl.rawValue)
      for mechanism in mechanisms { body.writeNullTerminated(mechanism) }
      body.writeInteger(UInt8(0))
    }
  }

  mutating func writeFatal(_ refusal: ProxyRefusal) {
    writeMessage("E") { body in
      var fields: [(Character, String)] = [
        ("S", "FATAL"), ("V", "FATAL"), ("C", refusal.sqlState), ("M", refusal.message),
      ]
      if let hint = refusal.hint { fields.append(("H", hint)) }
      for (code, text) in fields {
        if let byte = code.asciiValue { body.writeInteger(byte) }
        body.writeNullTerminated(text)
      }
      body.writeInteger(UInt8(0))
    }
  }

  /// `NegotiateProtocolVersion`: only 3.0, and none of `options`.
  mutating func writeNegotiateProtocolVersion(unknown options: [String]) {
    writeMessage("v") { body in
      body.writeInteger(Int32(3 << 16))
      body.writeInteger(Int32(options.count))
      for option in options { body.writeNullTerminated(option) }
    }
  }

  mutating func writeBackendKey(_ key: CancelKey) {
    writeMessage("K") { body in
      body.writeInteger(key.processID)
      body.writeInteger(key.secret)
    }
  }

  mutating func writeStartup(_ parameters: [StartupParameter]) {
    let start = writerIndex
    writeInteger(Int32(0))
    writeInteger(Int32(3 << 16))
    for parameter in parameters {
      writeNullTerminated(parameter.name)
      writeNullTerminated(parameter.value)
    }
    writeInteger(UInt8(0))
    setInteger(Int32(writerIndex - start), at: start)
  }

  /// A cancel request.
  init(cancel key: CancelKey) {
    self.init()
    writeInteger(Int32(16))
    writeInteger(Int32(80_877_102))
    writeInteger(key.processID)
    writeInteger(key.secret)
  }

  mutating func readNullTerminated() -> String? {
    guard let end = readableBytesView.firstIndex(of: 0),
      let bytes = readBytes(length: end - readerIndex)
    else { return nil }
    moveReaderIndex(forwardBy: 1)
    return String(validating: bytes, as: UTF8.self)
  }

  /// The rest as text; nil when it is not UTF-8.
  mutating func readRestAsText() -> String? {
    String(validating: readBytes(length: readableBytes) ?? [], as: UTF8.self)
  }
}

/// Codes of the `R` message.
enum AuthenticationCode: Int32 {
  case ok = 0
  case cleartextPassword = 3
  case sasl = 10
  case saslContinue = 11
  case saslFinal = 12
}
