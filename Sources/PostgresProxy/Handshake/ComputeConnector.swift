import NIOCore
import NIOPosix

/// Wakes a compute and logs in to it, trying again until a deadline.
///
/// # State and invariants
/// 1. `onResult` is called at most once, and never after ``cancel()``.
/// 2. No compute channel is left open unless it was handed to `onResult`.
/// # Concurrency
/// Runs on one event loop, which the compute's channel shares; only the directory's calls leave it.
final class ComputeConnector {
  enum Result {
    case ready(any Channel, ComputeLoginHandler, ComputeGreeting, ComputeAddress)
    case refused(ProxyRefusal)
    /// The compute's own `ErrorResponse`.
    case error(ByteBuffer)
  }

  private let eventLoop: any EventLoop
  private let login: ClientLogin
  private let environment: ProxyEnvironment
  private let deadline: NIODeadline
  private var onResult: ((Result) -> Void)?
  private var wakeTask: Task<Void, Never>?
  private var timer: Scheduled<Void>?
  private var look: Scheduled<Void>?
  private var channel: (any Channel)?

  /// Pause before the next attempt where nothing listened, or the server was still starting.
  private static let retryInterval = TimeAmount.milliseconds(25)
  /// A pooler that runs learns of a role within its next round; so long its refusals are not the
  /// last word: a second.
  private static let pooledAttempts = 40
  private var pooledAttempts = 0
  /// A pooler that has not let a client in for so long may wait for a database that is not there.
  private static let patience = TimeAmount.milliseconds(500)

  init(
    login: ClientLogin, environment: ProxyEnvironment, eventLoop: any EventLoop,
    onResult: @escaping (Result) -> Void
  ) {
    self.login = login
    self.environment = environment
    self.eventLoop = eventLoop
    self.onResult = onResult
    deadline = .now() + environment.configuration.wakeTimeout.timeAmount
  }

  func start() {
    timer = eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [self] in
      finish(.refused(.wakeTimeout(login.authentication.endpointID)))
    }
    wake()
  }

  /// The client has gone.
  func cancel() {
    onResult = nil
    finish(nil)
  }

  private func wake() {
    guard onResult != nil else { return }
    let promise = eventLoop.makePromise(of: ComputeAddress.self)
    promise.futureResult.assumeIsolated().whenComplete { [self] result in
      switch result {
      case .success(let address): connect(to: address)
      case .failure(let refusal as ProxyRefusal): finish(.refused(refusal))
      case .failure(let error):
        environment.logger.error(
          "waking an endpoint failed",
          metadata: ["endpoint": "\(login.authentication.endpointID)", "error": "\(error)"])
        finish(.refused(.internalError))
      }
    }
    let (directory, authentication) = (environment.directory, login.authentication)
    let (isPooled, role) = (isPooled, login.role)
    wakeTask = Task {
      do {
        promise.succeed(
          try await isPooled
            ? directory.wakePooled(
              authentication.endpointID, role: role, verifier: authentication.scramVerifier)
            : directory.wake(authentication.endpointID))
      } catch {
        promise.fail(error)
      }
    }
  }

  /// Moments and replication have no pool.
  private var isPooled: Bool {
    login.target.isPooled && login.target.moment == nil && login.kind != .replication
  }

  private func connect(to address: ComputeAddress) {
    guard onResult != nil else { return }
    let handler = ComputeLoginHandler(
      login: ComputeLogin(
        login: login, nonce: Randomness.nonce(), isTrusted: address.trustsProxy)
    ) { [self] outcome, channel, handler in
      loginEnded(outcome, channel: channel, handler: handler, at: address)
    }
    let bound = NIOLoopBound(handler, eventLoop: eventLoop)
    ClientBootstrap(group: eventLoop)
      .channelOption(.recvAllocator, value: PostgresProxy.receiveAllocator)
      .channelOption(.writeBufferWaterMark, value: PostgresProxy.writeBufferWaterMark)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(bound.value)
        }
      }
      .connect(unixDomainSocketPath: address.socketPath)
      .assumeIsolated()
      .whenComplete { [self] result in
        switch result {
        case .success(let channel): connected(channel)
        case .failure: retry()  // it went to sleep, or has not opened its socket yet
        }
      }
  }

  private func connected(_ channel: any Channel) {
    guard onResult != nil else { return channel.close(promise: nil) }
    self.channel = channel
    guard isPooled, look == nil else { return }
    look = eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { [self] in lookForDatabase()
    }
  }

  private func lookForDatabase() {
    guard onResult != nil else { return }
    let (directory, name) = (environment.directory, login.database)
    let endpoint = login.authentication.endpointID
    let promise = eventLoop.makePromise(of: Bool.self)
    promise.futureResult.assumeIsolated().whenSuccess { [self] isThere in
      if !isThere { finish(.refused(.noDatabase(name))) }
    }
    // Where it cannot be asked the pooler has the last word.
    promise.completeWithTask { try await directory.hasDatabase(name, endpointID: endpoint) }
  }

  private func retry() {
    guard onResult != nil else { return }
    channel = nil
    eventLoop.assumeIsolated().scheduleTask(in: Self.retryInterval) { [self] in wake() }
  }

  private func loginEnded(
    _ outcome: ComputeLoginOutcome, channel: any Channel, handler: ComputeLoginHandler,
    at address: ComputeAddress
  ) {
    guard onResult != nil else { return }
    switch outcome {
    case .ready(let greeting):
      self.channel = nil
      finish(.ready(channel, handler, greeting, address))
    case .refused("57P03", _): retry()
    case .refused("28P01", _) where isPooled && pooledAttempts < Self.pooledAttempts,
      .refused("08P01", _) where isPooled && pooledAttempts < Self.pooledAttempts:
      pooledAttempts += 1
      retry()
    case .refused("28P01", let error):
      environment.logger.warning(
        "a compute does not hold the verifier that the directory gave",
        metadata: [
          "endpoint": "\(login.authentication.endpointID)", "role": "\(login.role)",
        ])
      finish(.error(error))
    case .refused(_, let error): finish(.error(error))
    case .lost: retry()
    case .broken(let reason):
      environment.logger.error(
        "a compute did not speak as expected",
        metadata: [
          "endpoint": "\(login.authentication.endpointID)", "reason": "\(reason)",
        ])
      finish(.refused(.internalError))
    }
  }

  private func finish(_ result: Result?) {
    timer?.cancel()
    look?.cancel()
    wakeTask?.cancel()
    channel?.close(promise: nil)
    channel = nil
    let onResult = onResult
    self.onResult = nil
    if let result { onResult?(result) }
  }
}
