import NIOCore

/// A login that succeeded: all that is needed to wake the compute and log in to it.
struct ClientLogin {
  var role: String
  var target: ProxyTarget
  /// For the compute: the client's parameters without what was meant for the proxy.
  var parameters: [StartupParameter]
  var authentication: RoleAuthentication
  var verifier: SCRAMVerifier
  var clientKey: SCRAMClientKey
  var kind: SessionKind

  /// As the server takes it: the role's name where none is given.
  var database: String { parameters.first { $0.name == "database" }?.value ?? role }
}

/// Decides what a connection does from its first byte to its login.
///
/// A value without effects: bytes and answers go in, ``Action``s come out. `next(_:)` is called
/// again after every action but `.wait`, `.cancel`, `.authenticated` and `.refuse`; after those
/// that ask
/// for something (`.startTLS`, `.lookUp`, `.checkPassword`), once the answer has been given.
///
/// Invariants: nothing but TLS, a cancel request or an error follows on a connection that must be
/// encrypted and is not; a target or role that does not exist takes the same messages as one whose
/// password is wrong.
struct ClientHandshake {
  struct Settings {
    var allowsPlain: Bool
    var domain: String?
    /// Of the certificate; nil where binding is not offered.
    var bindingData: [UInt8]?
    var mockSecret: [UInt8]
    /// The server's nonce of this one exchange.
    var nonce: String
    /// ``ProxyConfiguration/callerSecret``.
    var callerSecret: String?
  }

  enum Action {
    case wait
    /// Answer `S` when it was asked for, then start TLS; then call `encrypted`.
    case startTLS(isDirect: Bool)
    case refuseEncryption
    case send(ByteBuffer)
    case cancel(CancelKey)
    /// Ask the directory; then call `found`.
    case lookUp(ProxyTarget, role: String)
    /// Compute the client key of a password, off the event loop; then call `passwordChecked`.
    case checkPassword(String, SCRAMVerifier)
    case authenticated(ClientLogin, reply: ByteBuffer)
    case refuse(ProxyRefusal, isFailedLogin: Bool)
  }

  enum State {
    case opening
    case awaitingAnswer
    case found(RoleAuthentication?)
    case password
    case saslInitial(SCRAMServer)
    case saslFinal(SCRAMServer)
    case checked(SCRAMClientKey?)
    case ended
  }

  let settings: Settings
  var state = State.opening
  var isEncrypted = false
  var serverName: String?
  var request: StartupRequest?
  var forwardedOptions: String?
  var optionMoment: ProxyTarget.Moment?
  /// Of the client that this one connects for; nil where it connects for itself.
  var clientAddress: String?
  var target: ProxyTarget?
  var authentication: RoleAuthentication?
  var verifier: SCRAMVerifier?
  /// Of the password form: the password that waits for its verifier.
  var password: String?
  /// Goes out ahead of the next message.
  var outbox = ByteBuffer()

  init(settings: Settings) { self.settings = settings }

  var role: String { request?["user"] ?? "" }

  /// What comes next, given the bytes that have arrived; takes off `buffer` what it used.
  mutating func next(_ buffer: inout ByteBuffer) -> Action {
    do {
      return try step(&buffer)
    } catch {
      state = .ended
      return .refuse(error, isFailedLogin: false)
    }
  }

  private mutating func step(_ buffer: inout ByteBuffer) throws(ProxyRefusal) -> Action {
    switch state {
    case .awaitingAnswer, .ended: return .wait
    case .opening: return try open(&buffer)
    case .found(let found): return try challenge(found)
    case .checked(let key): return finish(key, signature: nil)
    case .password, .saslInitial, .saslFinal:
      guard let message = try buffer.readTypedMessage(limit: StartupPacket.maximumLength) else {
        return .wait
      }
      guard message.type == UInt8(ascii: "p") else {
        throw .protocolViolation("expected a password response")
      }
      return try respond(to: message.body)
    }
  }
}

// MARK: - Opening

extension ClientHandshake {
  private mutating func open(_ buffer: inout ByteBuffer) throws(ProxyRefusal) -> Action {
    // The first byte of TLS; that of a startup packet of legal length is 0.
    if !isEncrypted, buffer.getInteger(at: buffer.readerIndex, as: UInt8.self) == 0x16 {
      state = .awaitingAnswer
      return .startTLS(isDirect: true)
    }
    guard let packet = try StartupPacket.read(from: &buffer) else { return .wait }
    switch packet {
    case .tls where isEncrypted, .gssEncryption where isEncrypted:
      throw .protocolViolation("encryption was asked for twice")
    case .tls:
      guard buffer.readableBytes == 0 else {
        // Whoever put plain bytes after the request wants them taken for encrypted ones.
        throw .protocolViolation("received unencrypted data after SSL request")
      }
      state = .awaitingAnswer
      return .startTLS(isDirect: false)
    case .gssEncryption: return .refuseEncryption
    case .cancel(let key):
      state = .ended
      return .cancel(key)
    case .startup(let request): return try start(request)
    }
  }

  /// TLS stands. For direct TLS, `applicationProtocol` must be PostgreSQL's, or any server of
  /// another protocol on this address could be impersonated.
  mutating func encrypted(isDirect: Bool, serverName: String?, applicationProtocol: String?) {
    isEncrypted = true
    self.serverName = serverName
    state = .opening
    if isDirect, applicationProtocol != ServerCertificate.applicationProtocol {
      state = .ended
    }
  }

  /// True when nothing can follow.
  var hasEnded: Bool { if case .ended = state { true } else { false } }

  private mutating func start(_ request: StartupRequest) throws(ProxyRefusal) -> Action {
    guard isEncrypted || settings.allowsPlain else { throw .plainBeyondLoopback }
    guard let role = request["user"], !role.isEmpty else {
      throw ProxyRefusal(
        sqlState: "28000", message: "no PostgreSQL user name specified in startup packet")
    }
    self.request = request
    let options = try StartupOptions(request["options"] ?? "")
    forwardedOptions = options.forwarded
    optionMoment = options.moment
    if let claim = options.client {
      clientAddress = try Self.address(claim, secret: settings.callerSecret)
    }
    target = try Self.target(
      serverName: serverName.flatMap { ProxyTarget(serverName: $0, domain: settings.domain) },
      options: options)
    if request.minorVersion > 0 || !request.protocolOptions.isEmpty {
      outbox.writeNegotiateProtocolVersion(unknown: request.protocolOptions)
    }
    if let target {
      state = .awaitingAnswer
      return .lookUp(target, role: role)
    }
    guard isEncrypted else { throw .noEndpoint }
    state = .password
    return send { $0.writeAuthentication(.cleartextPassword) }
  }

  /// The address of `SECRET/ADDRESS`, where the secret is the right one.
  private static func address(
    _ claim: String, secret: String?
  ) throws(ProxyRefusal) -> String {
    let parts = claim.split(separator: "/", maxSplits: 1).map(String.init)
    guard let secret, parts.count == 2,
      ConstantTime.isEqual([UInt8](parts[0].utf8), [UInt8](secret.utf8))
    else {
      throw ProxyRefusal(
        sqlState: "28000", message: "option 'exzo_client' is for this server's own use",
        hint: "Leave it out.")
    }
    return parts[1]
  }

  private static func target(
    serverName: ProxyTarget?, options: StartupOptions
  ) throws(ProxyRefusal) -> ProxyTarget? {
    var target = serverName
    if let text = options.endpoint {
      guard let option = ProxyTarget(label: text) else {
        throw ProxyRefusal(
          sqlState: "08004", message: "option 'endpoint' is '\(text.prefix(80))', no endpoint id",
          hint: "An endpoint id looks like ep-word-word-12345678.")
      }
      if let serverName, serverName.name != option.name {
        throw ProxyRefusal(
          sqlState: "08004",
          message: "the host name names '\(serverName.id)', option 'endpoint' '\(option.id)'",
          hint: "Name one endpoint; leave the option out where the host name has it.")
      }
      target = option
      target?.isPooled = option.isPooled || serverName?.isPooled == true
    }
    target?.moment = options.moment
    return target
  }
}
