import NIOCore

/// Decides the proxy's own login to a compute, from the startup message to its first
/// `ReadyForQuery`.
///
/// A value without effects. A password is never sent: only SCRAM is answered.
struct ComputeLogin {
  enum Action {
    case wait
    case send(ByteBuffer)
    case ready(ComputeGreeting)
    /// The compute's own `ErrorResponse`, whole.
    case failed(sqlState: String, error: ByteBuffer)
    /// The compute does not speak as expected; says how.
    case broken(String)
  }

  private enum State {
    case authenticating(SCRAMClient, hasSigned: Bool)
    case greeting(ComputeGreeting)
    case ended
  }

  /// Above every message a server sends before it is ready, in bytes.
  private static let longestMessage = 1 << 20

  private var state: State
  private let parameters: [StartupParameter]

  /// Whether the compute may ask for no proof.
  private let isTrusted: Bool

  init(login: ClientLogin, nonce: String, isTrusted: Bool = false) {
    self.isTrusted = isTrusted
    parameters = login.parameters
    let client = SCRAMClient(clientKey: login.clientKey, verifier: login.verifier, nonce: nonce)
    state = .authenticating(client, hasSigned: false)
  }

  /// The first bytes to send.
  var startup: ByteBuffer {
    var bytes = ByteBuffer()
    bytes.writeStartup(parameters)
    return bytes
  }

  mutating func next(_ buffer: inout ByteBuffer) -> Action {
    do {
      while let message = try buffer.readTypedMessage(limit: Self.longestMessage) {
        let action = try take(message, rest: &buffer)
        if case .wait = action { continue }
        return action
      }
      return .wait
    } catch let error as ProxyRefusal {
      return .broken(error.message)
    } catch SCRAMError.rejected {
      var error = ByteBuffer()
      error.writeFatal(Self.otherPassword)
      return .failed(sqlState: Self.otherPassword.sqlState, error: error)
    } catch {
      return .broken("\(error)")
    }
  }

  private static let otherPassword = ProxyRefusal(
    sqlState: "28P01", message: "the compute holds another password for this role",
    hint: "It was changed by SQL there; reset the role's password through the API or the CLI.")

  private mutating func take(
    _ message: TypedMessage, rest: inout ByteBuffer
  ) throws -> Action {
    if message.type == UInt8(ascii: "E") {
      state = .ended
      return .failed(sqlState: Self.sqlState(of: message.body), error: message.bytes)
    }
    switch (state, message.type) {
    case (.authenticating(let client, let hasSigned), UInt8(ascii: "R")):
      return try authenticate(client, hasSigned: hasSigned, message.body)
    case (.authenticating, UInt8(ascii: "N")), (.authenticating, UInt8(ascii: "v")): return .wait
    case (.greeting(var greeting), _):
      greeting.append(message)
      state = .greeting(greeting)
      guard message.type == UInt8(ascii: "Z") else { return .wait }
      state = .ended
      greeting.afterKey.writeBuffer(&rest)
      return .ready(greeting)
    default:
      let type = String(UnicodeScalar(message.type))
      throw ProxyRefusal.protocolViolation("unexpected message '\(type)'")
    }
  }

  private mutating func authenticate(
    _ client: SCRAMClient, hasSigned: Bool, _ body: ByteBuffer
  ) throws -> Action {
    var (client, body) = (client, body)
    let code = body.readInteger(as: Int32.self)
    switch code.flatMap(AuthenticationCode.init) {
    case .sasl:
      var bytes = ByteBuffer()
      bytes.writeMessage("p") { message in
        message.writeNullTerminated(SCRAMServer.mechanism)
        message.writeInteger(Int32(client.first.utf8.count))
        message.writeString(client.first)
      }
      return .send(bytes)
    case .saslContinue:
      let reply = try client.receiveFirst(body.readRestAsText() ?? "")
      state = .authenticating(client, hasSigned: false)
      var bytes = ByteBuffer()
      bytes.writeMessage("p") { $0.writeString(reply) }
      return .send(bytes)
    case .saslFinal:
      try client.receiveFinal(body.readRestAsText() ?? "")
      state = .authenticating(client, hasSigned: true)
      return .wait
    case .ok where hasSigned || isTrusted:
      state = .greeting(ComputeGreeting())
      return .wait
    default:
      throw ProxyRefusal.protocolViolation("authentication request \(code ?? -1) instead of SCRAM")
    }
  }

  /// Field `C` of an `ErrorResponse`; empty when it has none.
  private static func sqlState(of body: ByteBuffer) -> String {
    var body = body
    while let field = body.readInteger(as: UInt8.self), field != 0,
      let text = body.readNullTerminated()
    {
      if field == UInt8(ascii: "C") { return text }
    }
    return ""
  }
}

/// What a compute says between `AuthenticationOk` and its first `ReadyForQuery`, with the place of
/// its cancel key.
struct ComputeGreeting: Equatable {
  var beforeKey = ByteBuffer()
  var key: CancelKey?
  /// Ends with `ReadyForQuery` and whatever came after it.
  var afterKey = ByteBuffer()

  mutating func append(_ message: TypedMessage) {
    var (bytes, body) = (message.bytes, message.body)
    if message.type == UInt8(ascii: "K"), key == nil, body.readableBytes == 8,
      let processID = body.readInteger(as: Int32.self),
      let secret = body.readInteger(as: Int32.self)
    {
      key = CancelKey(processID: processID, secret: secret)
    } else if key == nil {
      beforeKey.writeBuffer(&bytes)
    } else {
      afterKey.writeBuffer(&bytes)
    }
  }
}
