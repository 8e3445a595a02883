import Logging
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS

/// Carries a client from its first byte to its relay: the effects of a ``ClientHandshake``.
///
/// # State and invariants
/// 1. The connection is registered from its first moment to its end; refused ones are not.
/// 2. Until the relay takes over, at most ``bufferLimit`` plus one read of a client's bytes are
///   held.
/// 3. `sessionOpened` and `sessionClosed` are told in pairs, for sessions with a relay only.
/// # Concurrency
/// The channel's event loop; the directory's answers come back to it.
final class ClientSession: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  static let bufferLimit = 64 * 1024
  /// How long a connection above the limits may take to send a cancel request or learn the reason.
  private static let unregisteredLifetime = TimeAmount.seconds(5)
  /// How long a refused client may take to read why.
  private static let lingerTime = TimeAmount.seconds(2)

  let environment: ProxyEnvironment
  let channel: any Channel
  let source: String
  private var handshake: ClientHandshake
  private var received = ByteBuffer()
  private var context: ChannelHandlerContext?
  private var holdsRead = false
  private var isRegistered = false
  private var hasEnded = false
  private var inHandshake = false
  private var timeout: Scheduled<Void>?
  private var serverName: String?
  private var isDirectTLS = false
  /// Bytes sent before the meter exists; they count once the client has logged in.
  private var sentBytes = 0
  private var connector: ComputeConnector?
  /// What the failure limits know this login by.
  private var endpointName = ""

  init(environment: ProxyEnvironment, channel: any Channel) {
    self.environment = environment
    self.channel = channel
    source = SourceAddress.key(channel.remoteAddress)
    let configuration = environment.configuration
    let isLocal = SourceAddress.isLoopback(channel.remoteAddress)
    handshake = ClientHandshake(
      settings: .init(
        allowsPlain: isLocal || configuration.allowsPlainBeyondLoopback,
        domain: configuration.domain, bindingData: environment.certificate.bindingData,
        mockSecret: environment.mockSecret, nonce: Randomness.nonce(),
        callerSecret: configuration.callerSecret))
  }

  // MARK: Channel events

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    isRegistered = environment.registry.add(channel, source: source)
    inHandshake = isRegistered
    let limit =
      isRegistered
      ? environment.configuration.handshakeTimeout.timeAmount : Self.unregisteredLifetime
    timeout = channel.eventLoop.assumeIsolated().scheduleTask(in: limit) { [weak self] in
      // Nothing is said: whoever stays silent for so long does not wait for an answer.
      self?.context?.close(promise: nil)
    }
  }

  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !hasEnded else { return }
    var bytes = unwrapInboundIn(data)
    received.writeBuffer(&bytes)
    proceed()
  }

  func read(context: ChannelHandlerContext) {
    if received.readableBytes < Self.bufferLimit { context.read() } else { holdsRead = true }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case TLSUserEvent.handshakeCompleted(let applicationProtocol):
      handshake.encrypted(
        isDirect: isDirectTLS, serverName: serverName, applicationProtocol: applicationProtocol)
      if handshake.hasEnded { context.close(promise: nil) } else { proceed() }
    case ChannelEvent.inputClosed: context.close(promise: nil)
    case is DrainEvent: refuse(.shuttingDown)
    default: context.fireUserInboundEventTriggered(event)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    hasEnded = true
    timeout?.cancel()
    connector?.cancel()
    connector = nil
    endHandshake()
    if isRegistered { environment.registry.remove(channel) }
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    environment.logger.debug("a connection failed", metadata: ["error": "\(error)"])
    context.close(promise: nil)
  }

  // MARK: Actions

  private func proceed() {
    while !hasEnded, connector == nil {
      switch handshake.next(&received) {
      case .wait: return
      case .startTLS(let isDirect): startTLS(isDirect: isDirect)
      case .refuseEncryption: context?.writeAndFlush(NIOAny(ByteBuffer(string: "N")), promise: nil)
      case .send(let bytes): send(bytes)
      case .cancel(let key): cancel(key)
      case .lookUp(let target, let role): lookUp(target, role: role)
      case .checkPassword(let password, let verifier): check(password, verifier)
      case .authenticated(let login, let reply): authenticated(login, reply: reply)
      case .refuse(let refusal, let isFailedLogin):
        if isFailedLogin { failed(refusal) } else { refuse(refusal) }
      }
    }
  }

  private func send(_ bytes: ByteBuffer) {
    sentBytes += bytes.readableBytes
    context?.writeAndFlush(NIOAny(bytes), promise: nil)
  }

  private func startTLS(isDirect: Bool) {
    guard let context else { return }
    isDirectTLS = isDirect
    if !isDirect { context.writeAndFlush(NIOAny(ByteBuffer(string: "S")), promise: nil) }
    let eventLoop = channel.eventLoop
    let names = ByteToMessageHandler(
      SNIHandler { [weak self] result in
        if case .hostname(let name) = result { self?.serverName = name }
        return eventLoop.makeSucceededVoidFuture()
      })
    let pipeline = context.pipeline.syncOperations
    do {
      let tls = NIOSSLServerHandler(context: environment.certificate.context)
      try pipeline.addHandlers([names, tls], position: .first)
    } catch {
      return errorCaught(context: context, error: error)
    }
    guard isDirect else { return }
    let hello = received
    received = ByteBuffer()
    pipeline.fireChannelRead(NIOAny(hello))
    pipeline.fireChannelReadComplete()
  }

  private func lookUp(_ target: ProxyTarget, role: String) {
    endpointName = target.id
    guard isRegistered else { return refuse(.tooManyConnections) }
    guard isWithinLimits() else { return }
    let directory = environment.directory
    let question: @Sendable () async throws -> RoleAuthentication? = {
      try await directory.authentication(target: target, role: role)
    }
    answer(question) { session, result in
      switch result {
      case .success(let found):
        let address = session.handshake.clientAddress ?? session.channel.remoteAddress?.ipAddress
        session.handshake.found(found?.checking(address: address))
      case .failure(let refusal as ProxyRefusal): return session.refuse(refusal)
      case .failure(let error):
        session.environment.logger.error(
          "looking up an endpoint failed",
          metadata: ["endpoint": "\(target.id)", "error": "\(error)"])
        return session.refuse(.internalError)
      }
      session.proceed()
    }
  }

  private func check(_ password: String, _ verifier: SCRAMVerifier) {
    let work: @Sendable () async throws -> SCRAMClientKey? = {
      verifier.clientKey(password: password)
    }
    answer(work) { session, result in
      // The work itself cannot fail; nothing but a key is a key.
      session.handshake.passwordChecked((try? result.get()) ?? nil)
      session.proceed()
    }
  }

  /// Runs `work` off the event loop and `body` back on it, unless the client has gone meanwhile.
  private func answer<Value: Sendable>(
    _ work: @escaping @Sendable () async throws -> Value,
    _ body: @escaping (ClientSession, Result<Value, any Error>) -> Void
  ) {
    channel.eventLoop.makeFutureWithTask(work).assumeIsolated().whenComplete { [weak self] result in
      guard let self, !self.hasEnded else { return }
      body(self, result)
    }
  }

  /// Refuses, and returns false, when too many logins have failed.
  func isWithinLimits() -> Bool {
    guard let delay = environment.limiter.delay(source: source, endpoint: endpointName) else {
      return true
    }
    let seconds = Int(delay.components.seconds) + 1
    refuse(.tooManyFailures(retryAfterSeconds: seconds))
    return false
  }

  /// Past the limits a wrong proof and a right one get the same answer.
  private func failed(_ refusal: ProxyRefusal) {
    guard isWithinLimits() else { return }
    environment.limiter.recordFailure(source: source, endpoint: endpointName)
    environment.logger.info(
      "a login failed", metadata: ["source": "\(source)", "endpoint": "\(endpointName)"])
    refuse(refusal)
  }

  /// Tells the client why, and closes once it has read that or taken too long.
  func refuse(_ refusal: ProxyRefusal) {
    var bytes = ByteBuffer()
    bytes.writeFatal(refusal)
    end(with: bytes)
  }

  private func end(with bytes: ByteBuffer) {
    guard !hasEnded, let context else { return }
    hasEnded = true
    connector?.cancel()
    connector = nil
    timeout?.cancel()
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    context.writeAndFlush(NIOAny(bytes)).whenComplete { _ in
      bound.value.close(mode: .output, promise: nil)
    }
    context.eventLoop.scheduleTask(in: Self.lingerTime) { bound.value.close(promise: nil) }
  }

  func close() {
    hasEnded = true
    context?.close(promise: nil)
  }

  func takeSentBytes() -> Int {
    defer { sentBytes = 0 }
    return sentBytes
  }

  func takeReceivedBytes() -> ByteBuffer {
    defer { received = ByteBuffer() }
    return received
  }

  /// The relay's handlers stand behind ours: take ours out, and read on.
  func leave(compute: any Channel, handler: ComputeLoginHandler) {
    hasEnded = true
    connector = nil
    compute.pipeline.syncOperations.removeHandler(handler, promise: nil)
    channel.pipeline.syncOperations.removeHandler(self, promise: nil)
    if holdsRead { channel.read() }
  }

  private func endHandshake() {
    guard inHandshake else { return }
    inHandshake = false
    environment.registry.handshakeEnded(source: source)
  }

  // MARK: Login

  private func authenticated(_ login: ClientLogin, reply: ByteBuffer) {
    guard isWithinLimits() else { return }
    environment.limiter.recordSuccess(source: source, endpoint: endpointName)
    timeout?.cancel()
    endHandshake()
    send(reply)
    let connector = ComputeConnector(
      login: login, environment: environment, eventLoop: channel.eventLoop
    ) { [weak self] result in
      switch result {
      case .ready(let compute, let handler, let greeting, let address):
        self?.relay(
          login, to: compute, handler: handler, greeting: greeting, socketPath: address.socketPath)
      case .refused(let refusal): self?.refuse(refusal)
      case .error(let bytes): self?.end(with: bytes)
      }
    }
    self.connector = connector
    connector.start()
  }
}
