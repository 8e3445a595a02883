import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

@testable import PostgresProxy

/// A client that sends the bytes it is told to and keeps what it gets.
final class RawClient: Sendable {
  /// Direct TLS (PostgreSQL 17's `sslnegotiation=direct`).
  struct DirectTLS {
    var applicationProtocols: [String]
    var serverName: String?
  }

  private let channel: any Channel
  private let collector: Collector

  private init(channel: any Channel, collector: Collector) {
    self.channel = channel
    self.collector = collector
  }

  static func connect(to port: Int, tls: DirectTLS? = nil) async throws -> RawClient {
    let collector = Collector()
    var context: NIOSSLContext?
    if let tls {
      var configuration = TLSConfiguration.makeClientConfiguration()
      configuration.certificateVerification = .none
      configuration.applicationProtocols = tls.applicationProtocols
      context = try NIOSSLContext(configuration: configuration)
    }
    let serverName = tls?.serverName
    let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .channelInitializer { [context] channel in
        channel.eventLoop.makeCompletedFuture {
          if let context {
            try channel.pipeline.syncOperations.addHandler(
              NIOSSLClientHandler(context: context, serverHostname: serverName))
          }
          try channel.pipeline.syncOperations.addHandler(CollectorHandler(collector))
        }
      }
      .connect(host: "127.0.0.1", port: port).get()
    return RawClient(channel: channel, collector: collector)
  }

  func send(_ bytes: [UInt8]) async throws {
    try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
  }

  func send(_ write: (inout ByteBuffer) -> Void) async throws {
    var buffer = ByteBuffer()
    write(&buffer)
    try await channel.writeAndFlush(buffer).get()
  }

  func query(_ sql: String) async throws {
    try await send { buffer in buffer.writeMessage("Q") { $0.writeNullTerminated(sql) } }
  }

  /// Logs in as the backend's `app` and waits until the server is ready.
  func logIn(endpoint: String = Backend.endpoint, byOption: Bool = true) async throws {
    var parameters = [
      StartupParameter(name: "user", value: "app"), .init(name: "database", value: "app"),
    ]
    if byOption { parameters.append(.init(name: "options", value: "endpoint=\(endpoint)")) }
    try await send { $0.writeStartup(parameters) }
    let text = Backend.current?.verifiers["app"] ?? ""
    guard let verifier = SCRAMVerifier(text),
      let key = verifier.clientKey(password: Backend.password)
    else { throw Failure(what: "no verifier") }
    var scram = SCRAMClient(clientKey: key, verifier: verifier, nonce: Randomness.nonce())
    _ = try await message("R")
    let first = scram.first
    try await send { buffer in
      buffer.writeMessage("p") { body in
        body.writeNullTerminated(SCRAMServer.mechanism)
        body.writeInteger(Int32(first.utf8.count))
        body.writeString(first)
      }
    }
    var challenge = try await message("R")
    challenge.moveReaderIndex(forwardBy: 4)
    let reply = try scram.receiveFirst(challenge.readRestAsText() ?? "")
    try await send { buffer in buffer.writeMessage("p") { $0.writeString(reply) } }
    while try await message().type != UInt8(ascii: "Z") {}
  }

  struct Failure: Error { var what: String }

  /// Takes the next message.
  func message() async throws -> TypedMessage {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      if let message = try collector.state.withLock({
        try $0.bytes.readTypedMessage(limit: 1 << 24)
      }) {
        return message
      }
      if isClosed { throw Failure(what: "closed") }
      try await Task.sleep(for: .milliseconds(1))
    }
    throw Failure(what: "no message")
  }

  private func message(_ type: Character) async throws -> ByteBuffer {
    let message = try await message()
    guard message.type == type.asciiValue else { throw Failure(what: "got \(message)") }
    return message.body
  }

  var isClosed: Bool { collector.state.withLock { $0.isClosed } }
  var received: Int { collector.state.withLock { $0.total } }

  func setReading(_ reads: Bool) async throws {
    try await channel.setOption(.autoRead, value: reads).get()
  }

  func waitForBytes(_ count: Int) async throws {
    collector.state.withLock { $0.discards = true }
    let deadline = ContinuousClock.now + .seconds(60)
    while received < count {
      guard ContinuousClock.now < deadline, !isClosed else { throw Failure(what: "\(received)") }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// Waits until the proxy has closed, and returns all bytes not taken as messages, as text.
  func end() async throws -> String {
    let deadline = ContinuousClock.now + .seconds(20)
    while !isClosed {
      guard ContinuousClock.now < deadline else { throw Failure(what: "still open") }
      try await Task.sleep(for: .milliseconds(2))
    }
    return collector.state.withLock { String(buffer: $0.bytes) }
  }

  func close() async throws {
    if !isClosed { try await channel.close() }
  }
}

/// What a ``RawClient`` got.
private final class Collector: Sendable {
  struct State {
    var bytes = ByteBuffer()
    var total = 0
    var discards = false
    var isClosed = false
  }
  let state = Mutex(State())
}

private final class CollectorHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private let collector: Collector

  init(_ collector: Collector) { self.collector = collector }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    collector.state.withLock { state in
      state.total += bytes.readableBytes
      if !state.discards { state.bytes.writeBuffer(&bytes) }
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    collector.state.withLock { $0.isClosed = true }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
