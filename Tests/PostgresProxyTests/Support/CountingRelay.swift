import NIOCore
import NIOPosix
import Synchronization

/// A relay of its own, independent of the proxy's: counts what passes to the client.
final class CountingRelay: Sendable {
  private let count = Mutex(0)
  private let listener = Mutex<(any Channel)?>(nil)

  static func start(to port: Int) async throws -> CountingRelay {
    let relay = CountingRelay()
    let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .childChannelInitializer { client in
        ClientBootstrap(group: client.eventLoop).connect(host: "127.0.0.1", port: port)
          .flatMapThrowing { server in
            try client.pipeline.syncOperations.addHandler(Copier(to: server, count: { _ in }))
            try server.pipeline.syncOperations.addHandler(
              Copier(to: client) { bytes in relay.count.withLock { $0 += bytes } })
          }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    relay.listener.withLock { $0 = channel }
    return relay
  }

  var port: Int { listener.withLock { $0?.localAddress?.port ?? 0 } }
  var bytesToClient: Int { count.withLock { $0 } }
  func stop() async throws { try await listener.withLock { $0 }?.close() }

  private final class Copier: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let other: any Channel
    private let count: (Int) -> Void

    init(to other: any Channel, count: @escaping (Int) -> Void) {
      self.other = other
      self.count = count
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      let bytes = unwrapInboundIn(data)
      count(bytes.readableBytes)
      other.writeAndFlush(bytes, promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
  }
}
