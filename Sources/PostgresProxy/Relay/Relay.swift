import NIOCore

/// One session after its login: bytes go both ways untouched.
///
/// # Purpose
/// Moves what one side sends to the other, counts what the client gets, ends both sides together.
/// # State and invariants
/// 1. Bytes are only read from one side while the other can be written: at most a write buffer's
///    high-water mark and one read are in memory a direction.
/// 2. `onEnd` runs once, after the client's channel has closed.
/// 3. The server's end reaches the client after all that the server sent.
/// # Concurrency
/// Both channels live on one event loop; all of this runs there.
/// # Not guarded here
/// A client that reads nothing keeps its session; the operating system's keep-alive ends dead ones.
final class Relay {
  fileprivate let client = RelaySide()
  fileprivate let compute = RelaySide()
  private let meter: TransferMeter
  private var onEnd: (() -> Void)?
  private var tail = MessageTail()
  /// The client has sent bytes that the server has not answered.
  private var clientWaits = false
  /// The client has ended the session itself.
  private var clientLeft = false
  private var isDraining = false
  private var isEnding = false
  private var cutOff: Scheduled<Void>?
  /// How long a closing client may take for its last bytes.
  private static let lingerTime = TimeAmount.seconds(30)

  init(meter: TransferMeter, onEnd: @escaping () -> Void) {
    self.meter = meter
    self.onEnd = onEnd
  }

  /// Adds the relay's handlers to the tails of both pipelines, which must be on one event loop.
  func install(client clientChannel: any Channel, compute computeChannel: any Channel) throws {
    client.isClient = true
    (client.relay, compute.relay) = (self, self)
    try clientChannel.pipeline.syncOperations.addHandler(client)
    try computeChannel.pipeline.syncOperations.addHandler(compute)
  }

  /// The server's greeting, with the replaced key in it.
  func sendToClient(_ bytes: ByteBuffer) {
    count(bytes)
    client.context?.writeAndFlush(NIOAny(bytes), promise: nil)
  }

  func sendToCompute(_ bytes: ByteBuffer) {
    guard bytes.readableBytes > 0 else { return }
    compute.context?.writeAndFlush(NIOAny(bytes), promise: nil)
  }

  fileprivate func count(_ bytes: ByteBuffer) {
    meter.add(bytes.readableBytes)
    tail.append(bytes)
    clientWaits = false
  }

  fileprivate func clientSent(_ bytes: ByteBuffer) {
    clientWaits = true
    clientLeft = bytes.endsWithTerminate
  }

  /// The server has said what it had to say for now.
  fileprivate func computePaused() {
    client.context?.flush()
    if isDraining, isIdle { end(with: .shuttingDown) }
  }

  private var isIdle: Bool { tail.isIdle && !clientWaits }

  /// Ends the session at once when it is idle, else when its transaction ends.
  fileprivate func drain() {
    isDraining = true
    if isIdle { end(with: .shuttingDown) }
  }

  fileprivate func clientClosedInput() {
    clientLeft = true
    compute.context?.close(mode: .output, promise: nil)
  }

  fileprivate func computeEnded() {
    compute.release()
    end(with: .computeGone)
  }

  /// Flushes, tells the client why where a message may stand, and closes both sides.
  private func end(with refusal: ProxyRefusal) {
    guard !isEnding, let context = client.context else { return }
    isEnding = true
    var last = ByteBuffer()
    if tail.isAtBoundary, !clientLeft { last.writeFatal(refusal) }
    meter.add(last.readableBytes)
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    context.writeAndFlush(NIOAny(last)).whenComplete { _ in bound.value.close(promise: nil) }
    cutOff = context.eventLoop.scheduleTask(in: Self.lingerTime) {
      bound.value.close(promise: nil)
    }
    compute.context?.close(promise: nil)
  }

  fileprivate func clientEnded() {
    client.release()
    cutOff?.cancel()
    compute.context?.close(promise: nil)
    meter.finish()
    onEnd?()
    onEnd = nil
  }
}

/// Sent through every client's pipeline when the proxy shuts down.
struct DrainEvent: Sendable {}

/// One end of a relay: the last handler of its channel's pipeline.
private final class RelaySide: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  var isClient = false
  /// Nil before installation and after the end, which breaks the cycle.
  var relay: Relay?
  private(set) var context: ChannelHandlerContext?
  private var holdsRead = false

  private var other: RelaySide? { isClient ? relay?.compute : relay?.client }

  func release() {
    relay = nil
    context = nil
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let relay else { return }
    let bytes = unwrapInboundIn(data)
    if isClient { relay.clientSent(bytes) } else { relay.count(bytes) }
    other?.context?.write(data, promise: nil)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    if isClient { other?.context?.flush() } else { relay?.computePaused() }
  }

  func read(context: ChannelHandlerContext) {
    if let other = other?.context, !other.channel.isWritable {
      holdsRead = true
    } else {
      context.read()
    }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { other?.resumeReading() }
    context.fireChannelWritabilityChanged()
  }

  private func resumeReading() {
    guard holdsRead, let context else { return }
    holdsRead = false
    context.read()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    switch event {
    case ChannelEvent.inputClosed where isClient: relay?.clientClosedInput()
    case is DrainEvent: relay?.drain()
    default: context.fireUserInboundEventTriggered(event)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    if isClient { relay?.clientEnded() } else { relay?.computeEnded() }
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A reset, or TLS cut off: that side is gone, and the end of its channel does the rest.
    context.close(promise: nil)
  }
}
