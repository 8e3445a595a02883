import NIOCore

struct StartupParameter: Sendable, Equatable {
  var name: String
  var value: String
}

/// A packet that opens a connection: the ones without a type byte.
///
/// Layout: Int32 length (itself included), Int32 code, body; network byte order. Source:
/// PostgreSQL's
/// protocol documentation, "Message Formats", and `pqcomm.h`.
enum StartupPacket: Equatable {
  case startup(StartupRequest)
  case cancel(CancelKey)
  case tls
  case gssEncryption

  /// PostgreSQL's own limit (`MAX_STARTUP_PACKET_LENGTH`), in bytes.
  static let maximumLength = 10_000

  private static let cancelCode: Int32 = 80_877_102
  private static let tlsCode: Int32 = 80_877_103
  private static let gssCode: Int32 = 80_877_104

  /// Takes one whole packet off `buffer`; nil, and `buffer` untouched, while bytes are missing.
  ///
  /// - Throws: ``ProxyRefusal`` as soon as the bytes cannot become a packet.
  static func read(from buffer: inout ByteBuffer) throws(ProxyRefusal) -> StartupPacket? {
    guard let length = buffer.getInteger(at: buffer.readerIndex, as: Int32.self) else { return nil }
    guard 8...maximumLength ~= Int(length) else {
      throw .protocolViolation("invalid length of startup packet")
    }
    guard var packet = buffer.readSlice(length: Int(length)) else { return nil }
    packet.moveReaderIndex(forwardBy: 4)
    guard let code = packet.readInteger(as: Int32.self) else {
      throw .protocolViolation("invalid startup packet")
    }
    switch code {
    case cancelCode: return .cancel(try CancelKey(reading: packet))
    case tlsCode where packet.readableBytes == 0: return .tls
    case gssCode where packet.readableBytes == 0: return .gssEncryption
    default: return .startup(try StartupRequest(version: code, body: packet))
    }
  }
}

/// A startup message: protocol 3, minor version, and parameters in the client's order.
struct StartupRequest: Equatable {
  var minorVersion: Int
  var parameters: [StartupParameter]
  /// Names of protocol options (`_pq_.…`), none of which the proxy speaks.
  var protocolOptions: [String]

  init(version: Int32, body: ByteBuffer) throws(ProxyRefusal) {
    guard version >> 16 == 3 else {
      let name = "\(UInt32(bitPattern: version) >> 16).\(version & 0xFFFF)"
      throw ProxyRefusal(
        sqlState: "0A000", message: "unsupported frontend protocol \(name): the proxy speaks 3.0")
    }
    minorVersion = Int(version & 0xFFFF)
    parameters = []
    protocolOptions = []
    var body = body
    while let name = try Self.readString(&body) {
      guard !name.isEmpty else {
        guard body.readableBytes == 0 else { break }
        return
      }
      guard let value = try Self.readString(&body) else { break }
      if name.hasPrefix("_pq_.") {
        protocolOptions.append(name)
      } else {
        parameters.append(StartupParameter(name: name, value: value))
      }
    }
    throw .protocolViolation("invalid startup packet layout: expected terminator as last byte")
  }

  private static func readString(_ body: inout ByteBuffer) throws(ProxyRefusal) -> String? {
    guard let end = body.readableBytesView.firstIndex(of: 0),
      let bytes = body.readBytes(length: end - body.readerIndex)
    else { return nil }
    body.moveReaderIndex(forwardBy: 1)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw .protocolViolation("a startup parameter is not UTF-8")
    }
    return text
  }

  /// The last value of parameter `name`, as PostgreSQL takes it.
  subscript(name: String) -> String? { parameters.last { $0.name == name }?.value }
}

/// Process id and secret that identify a session to a cancel request.
struct CancelKey: Hashable, Sendable {
  var processID: Int32
  var secret: Int32

  init(processID: Int32, secret: Int32) {
    self.processID = processID
    self.secret = secret
  }

  /// Protocol 3.0 only: the key is 4 bytes long.
  fileprivate init(reading packet: ByteBuffer) throws(ProxyRefusal) {
    var packet = packet
    guard packet.readableBytes == 8, let processID = packet.readInteger(as: Int32.self),
      let secret = packet.readInteger(as: Int32.self)
    else { throw .protocolViolation("invalid length of cancel request") }
    self.init(processID: processID, secret: secret)
  }
}
