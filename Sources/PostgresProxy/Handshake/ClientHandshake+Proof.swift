import NIOCore

/// The proof of the password: SCRAM, or a cleartext password inside TLS.
extension ClientHandshake {
  /// The directory's answer to `.lookUp`.
  mutating func found(_ authentication: RoleAuthentication?) { state = .found(authentication) }

  /// The answer to `.checkPassword`.
  mutating func passwordChecked(_ key: SCRAMClientKey?) { state = .checked(key) }

  mutating func send(_ write: (inout ByteBuffer) -> Void) -> Action {
    var bytes = outbox
    outbox = ByteBuffer()
    write(&bytes)
    return .send(bytes)
  }

  mutating func challenge(
    _ found: RoleAuthentication?
  ) throws(ProxyRefusal) -> Action {
    authentication = found
    let known = found.flatMap { SCRAMVerifier($0.scramVerifier) }
    // A role without a password, or with one of another kind, cannot log in, as in PostgreSQL.
    if known == nil { authentication = nil }
    let verifier = known ?? mockVerifier
    self.verifier = verifier
    if let password {
      state = .awaitingAnswer
      return .checkPassword(password, verifier)
    }
    let server = SCRAMServer(
      verifier: verifier, nonce: settings.nonce,
      bindingData: isEncrypted ? settings.bindingData : nil, isMock: known == nil)
    state = .saslInitial(server)
    return send { $0.writeAuthenticationSASL(mechanisms: server.mechanisms) }
  }

  /// What stands in for a verifier that does not exist: the same at every attempt, as a real one.
  private var mockVerifier: SCRAMVerifier {
    let name = [UInt8]("\(target?.id ?? "")\0\(role)".utf8)
    let salt = SCRAMHash.hmac(settings.mockSecret, [0] + name)
    let key = SCRAMHash.hmac(settings.mockSecret, [1] + name)
    return SCRAMVerifier(
      iterations: SCRAMVerifier.defaultIterations,
      salt: Array(salt.prefix(SCRAMVerifier.defaultSaltLength)), storedKey: key, serverKey: key)
  }

  mutating func respond(to body: ByteBuffer) throws(ProxyRefusal) -> Action {
    var body = body
    do {
      switch state {
      case .password: return try takePassword(&body)
      case .saslInitial(var server):
        let (mechanism, message) = try Self.readInitialResponse(&body)
        let reply = try server.receiveFirst(mechanism: mechanism, message: message)
        state = .saslFinal(server)
        return send { $0.writeAuthentication(.saslContinue, reply) }
      case .saslFinal(var server):
        guard let message = body.readRestAsText() else { throw SCRAMError.malformed("not UTF-8") }
        let (signature, key) = try server.receiveFinal(message)
        return finish(key, signature: signature)
      default: return .wait
      }
    } catch let error as ProxyRefusal {
      throw error
    } catch {
      state = .ended
      return refusal(of: error as? SCRAMError ?? .rejected)
    }
  }

  private mutating func takePassword(_ body: inout ByteBuffer) throws(ProxyRefusal) -> Action {
    guard let text = body.readNullTerminated() else {
      throw .protocolViolation("invalid password packet")
    }
    let form = try PasswordForm(text)
    var target = form.target
    target.moment = optionMoment
    self.target = target
    password = form.password
    state = .awaitingAnswer
    return .lookUp(target, role: role)
  }

  private static func readInitialResponse(
    _ body: inout ByteBuffer
  ) throws(SCRAMError) -> (mechanism: String, message: String) {
    guard let mechanism = body.readNullTerminated(),
      let length = body.readInteger(as: Int32.self), length == body.readableBytes,
      let message = body.readRestAsText()
    else { throw .malformed("SASL initial response") }
    return (mechanism, message)
  }

  private func refusal(of error: SCRAMError) -> Action {
    switch error {
    case .rejected: .refuse(.wrongPassword(role: role), isFailedLogin: true)
    case .wrongChannelBinding:
      .refuse(
        ProxyRefusal(
          sqlState: "28000", message: "SCRAM channel binding check failed",
          hint: "Something between you and the proxy replaces its certificate."),
        isFailedLogin: true)
    case .malformed(let what):
      .refuse(.protocolViolation("malformed SCRAM message: \(what)"), isFailedLogin: true)
    case .unsupported(let what):
      .refuse(.protocolViolation("not supported: \(what)"), isFailedLogin: true)
    }
  }

  /// The end of the proof. `signature` is SCRAM's last word; nil after a cleartext password.
  mutating func finish(_ key: SCRAMClientKey?, signature: String?) -> Action {
    state = .ended
    guard let key, let authentication, let verifier, let request, let target else {
      return .refuse(.wrongPassword(role: role), isFailedLogin: true)
    }
    if let refusal = authentication.refusal { return .refuse(refusal, isFailedLogin: false) }
    guard authentication.allowsReplication || ReplicationMode(request["replication"]) == .none
    else {
      return .refuse(
        ProxyRefusal(
          sqlState: "42501",
          message: "role \"\(role)\" may not open replication connections here"),
        isFailedLogin: false)
    }
    let kind = SessionKind(parameters: request.parameters, target: target)
    if let forwardedOptions, target.isPooled, target.moment == nil, kind != .replication {
      return .refuse(.optionsOfPooledSession(forwardedOptions), isFailedLogin: false)
    }
    var reply = ByteBuffer()
    if let signature { reply.writeAuthentication(.saslFinal, signature) }
    reply.writeAuthentication(.ok)
    let login = ClientLogin(
      role: role, target: target, parameters: forwardedParameters(request),
      authentication: authentication, verifier: verifier, clientKey: key,
      kind: kind)
    return .authenticated(login, reply: reply)
  }

  private func forwardedParameters(_ request: StartupRequest) -> [StartupParameter] {
    var parameters = request.parameters.filter { $0.name != "options" }
    if let forwardedOptions {
      parameters.append(StartupParameter(name: "options", value: forwardedOptions))
    }
    return parameters
  }
}
