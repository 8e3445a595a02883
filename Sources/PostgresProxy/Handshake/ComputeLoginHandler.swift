import NIOCore

/// How one attempt to log in to a compute ended.
enum ComputeLoginOutcome {
  case ready(ComputeGreeting)
  /// The compute refused, in its own words.
  case refused(sqlState: String, error: ByteBuffer)
  /// The connection ended first; another attempt may succeed.
  case lost
  /// It spoke otherwise than expected; says how.
  case broken(String)
}

/// Carries out a ``ComputeLogin`` on a channel, and then keeps what arrives for the relay.
final class ComputeLoginHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  typealias Callback = (ComputeLoginOutcome, any Channel, ComputeLoginHandler) -> Void

  private var login: ComputeLogin
  private var received = ByteBuffer()
  private var onOutcome: Callback?

  /// - Parameter onOutcome: called once, on the channel's event loop; after `.ready` it must
  ///   install the
  ///   relay before it returns.
  init(login: ComputeLogin, onOutcome: @escaping Callback) {
    self.login = login
    self.onOutcome = onOutcome
  }

  func channelActive(context: ChannelHandlerContext) {
    context.writeAndFlush(wrapOutboundOut(login.startup), promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard onOutcome != nil else { return }
    var bytes = unwrapInboundIn(data)
    received.writeBuffer(&bytes)
    while onOutcome != nil {
      switch login.next(&received) {
      case .wait: return
      case .send(let bytes): context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
      case .ready(let greeting): finish(.ready(greeting), context)
      case .failed(let sqlState, let error):
        finish(.refused(sqlState: sqlState, error: error), context)
        context.close(promise: nil)
      case .broken(let reason):
        finish(.broken(reason), context)
        context.close(promise: nil)
      }
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    finish(.lost, context)
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    finish(.lost, context)
    context.close(promise: nil)
  }

  private func finish(_ outcome: ComputeLoginOutcome, _ context: ChannelHandlerContext) {
    let onOutcome = onOutcome
    self.onOutcome = nil
    onOutcome?(outcome, context.channel, self)
  }
}
