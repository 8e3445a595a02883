import NIOCore
import NIOPosix

extension ClientSession {
  /// Hands both channels over to a relay and leaves the pipeline.
  func relay(
    _ login: ClientLogin, to compute: any Channel, handler: ComputeLoginHandler,
    greeting: ComputeGreeting, socketPath: String
  ) {
    let endpointID = login.authentication.endpointID
    let (environment, kind, channel) = (environment, login.kind, channel)
    let meter = TransferMeter(eventLoop: channel.eventLoop) { bytes in
      environment.directory.record(
        transfer: TransferCount(endpointID: endpointID, kind: kind, bytes: bytes))
    }
    let key = greeting.key.map {
      environment.cancelKeys.issue(for: .init(key: $0, socketPath: socketPath))
    }
    let relay = Relay(meter: meter) {
      if let key { environment.cancelKeys.revoke(key) }
      environment.registry.remove(channel)
      environment.directory.sessionClosed(endpointID: endpointID)
    }
    environment.directory.sessionOpened(endpointID: endpointID)
    do {
      try relay.install(client: channel, compute: compute)
    } catch {
      // Either pipeline is gone, so its channel is: nothing to relay.
      environment.directory.sessionClosed(endpointID: endpointID)
      if let key { environment.cancelKeys.revoke(key) }
      compute.close(promise: nil)
      channel.close(promise: nil)
      return
    }
    leave(compute: compute, handler: handler)
    meter.add(takeSentBytes())
    var bytes = greeting.beforeKey
    if let key { bytes.writeBackendKey(key) }
    bytes.writeImmutableBuffer(greeting.afterKey)
    relay.sendToClient(bytes)
    relay.sendToCompute(takeReceivedBytes())
  }

  /// Carries a cancel request to the compute that `key` means, and closes when that is done.
  ///
  /// Keys that mean nothing count as failed logins: guessing is what they are for.
  func cancel(_ key: CancelKey) {
    guard isWithinLimits() else { return }
    guard let target = environment.cancelKeys.target(of: key) else {
      environment.limiter.recordFailure(source: source, endpoint: nil)
      return close()
    }
    let request = ByteBuffer(cancel: target.key)
    let client = channel
    ClientBootstrap(group: channel.eventLoop)
      .connect(unixDomainSocketPath: target.socketPath)
      .flatMap { compute in
        // The server answers by closing, once it has done what was asked.
        compute.writeAndFlush(request).flatMap { compute.closeFuture }
      }
      .whenComplete { _ in client.close(promise: nil) }
  }
}
