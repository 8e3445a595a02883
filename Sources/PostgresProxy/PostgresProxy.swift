import Foundation
import Logging
import NIOCore
import NIOPosix
import NIOSSL

/// The address that clients of every endpoint connect to.
///
/// # Purpose
/// One listener: takes connections, finds out which endpoint is meant, authenticates the role,
/// wakes the compute, logs in to it as that role, and relays and counts bytes from there.
/// # State and invariants
/// 1. Nothing is woken for a client that has not proved its password.
/// 2. A client never sees a compute's cancel key, nor a compute a client's password.
/// 3. Every byte sent to a client that logged in is reported to the directory once.
/// # On disk
/// `server.crt`, `server.key` and `mock-secret` in the state directory; made when missing.
/// # Crash
/// Sessions end with the process; at most the last second of their counts is lost.
/// # Concurrency
/// A session lives on one event loop, with both its channels; sessions share the limiter, the
/// registry and the cancel keys, each behind its own mutex.
/// # Not guarded here
/// Who may use which role: that is the directory's.
public final class PostgresProxy: Sendable {
  private let environment: ProxyEnvironment
  private let listener: any Channel

  static let writeBufferWaterMark = ChannelOptions.Types.WriteBufferWaterMark(
    low: 64 * 1024, high: 256 * 1024)
  static let receiveAllocator = AdaptiveRecvByteBufferAllocator(
    minimum: 1024, initial: 8 * 1024, maximum: 128 * 1024)
  private static let backlog: Int32 = 1024

  private init(environment: ProxyEnvironment, listener: any Channel) {
    self.environment = environment
    self.listener = listener
  }

  /// Starts listening; on return clients can connect.
  ///
  /// - Parameter group: threads to run on; the process's shared ones, one a core, by default.
  /// - Throws: ``ProxyStartError``; then nothing listens.
  public static func start(
    configuration: ProxyConfiguration, directory: any ProxyDirectory, logger: Logger,
    group: any EventLoopGroup = .singletonMultiThreadedEventLoopGroup
  ) async throws -> PostgresProxy {
    let state = configuration.stateDirectory
    var files = configuration.certificateFiles.map { ($0.certificate, $0.key) }
    if files == nil {
      files = try SelfSignedCertificate.ensure(
        in: state, domain: configuration.domain, now: Date())
    }
    guard let files else { preconditionFailure("files are given or made") }
    let environment = ProxyEnvironment(
      configuration: configuration, directory: directory, logger: logger,
      certificate: try ServerCertificate(chainPath: files.0, keyPath: files.1),
      mockSecret: try secret(in: state))
    do {
      let listener = try await bootstrap(group, environment)
        .bind(host: configuration.host, port: configuration.port).get()
      return PostgresProxy(environment: environment, listener: listener)
    } catch {
      throw ProxyStartError(
        code: .listenFailed,
        message: "listen on \(configuration.host):\(configuration.port): \(error)",
        hint: "Is the port in use? Choose another with --postgres.")
    }
  }

  private static func bootstrap(
    _ group: any EventLoopGroup, _ environment: ProxyEnvironment
  ) -> ServerBootstrap {
    ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: backlog)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.socketOption(.so_keepalive), value: 1)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelOption(.recvAllocator, value: receiveAllocator)
      .childChannelOption(.writeBufferWaterMark, value: writeBufferWaterMark)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(
            ClientSession(environment: environment, channel: channel))
        }
      }
  }

  /// The key of the deterministic salts of roles that do not exist.
  private static func secret(in directory: String) throws(ProxyStartError) -> [UInt8] {
    let path = "\(directory)/mock-secret"
    if let bytes = try StateFile.read(path), bytes.count == SCRAMHash.length { return bytes }
    let bytes = Randomness.bytes(SCRAMHash.length)
    try StateFile.write(bytes, to: path)
    return bytes
  }

  /// The port that is listened on.
  public var port: Int { listener.localAddress?.port ?? environment.configuration.port }

  /// Connections now, those that have not logged in included.
  public var connectionCount: Int { environment.registry.count }

  /// Stops: no new connections; idle sessions end with 57P01, others at the end of their
  /// transaction, and those that remain after `grace` are cut off. On return all are closed.
  public func shutdown(grace: Duration) async throws {
    do {
      try await listener.close()
    } catch ChannelError.alreadyClosed {
      // An earlier call has closed it; this one waits for the same end.
    }
    let registry = environment.registry
    let empty = listener.eventLoop.makePromise(of: Void.self)
    registry.drain(empty)
    for channel in registry.channels {
      channel.pipeline.fireUserInboundEventTriggered(DrainEvent())
    }
    let cutOff = listener.eventLoop.scheduleTask(in: grace.timeAmount) {
      for channel in registry.channels { channel.close(promise: nil) }
    }
    try await empty.futureResult.get()
    cutOff.cancel()
  }
}
