import NIOCore
import Synchronization

/// Every open client connection, for the limits and for draining.
///
/// *Invariants*: at most `maximum` connections count; of them at most `handshakesPerSource` from
/// one
/// address have not logged in yet, so that one stranger cannot hold all places.
final class ConnectionRegistry: Sendable {
  private struct State {
    var channels: [ObjectIdentifier: any Channel] = [:]
    var handshakes: [String: Int] = [:]
    var isDraining = false
    var whenEmpty: [EventLoopPromise<Void>] = []
  }

  private let state = Mutex(State())
  private let maximum: Int
  private let handshakesPerSource: Int

  init(maximum: Int, handshakesPerSource: Int) {
    self.maximum = maximum
    self.handshakesPerSource = handshakesPerSource
  }

  /// Registers a connection in its handshake; false when the limits or the drain refuse it, and
  /// then
  /// nothing is registered.
  func add(_ channel: any Channel, source: String) -> Bool {
    state.withLock { state in
      guard !state.isDraining, state.channels.count < maximum,
        state.handshakes[source, default: 0] < handshakesPerSource
      else { return false }
      state.channels[ObjectIdentifier(channel)] = channel
      state.handshakes[source, default: 0] += 1
      return true
    }
  }

  /// The connection has logged in, or ended before; call once for each that was added.
  func handshakeEnded(source: String) {
    state.withLock { state in
      guard let count = state.handshakes[source] else { return }
      state.handshakes[source] = count > 1 ? count - 1 : nil
    }
  }

  func remove(_ channel: any Channel) {
    let waiting = state.withLock { state in
      state.channels[ObjectIdentifier(channel)] = nil
      guard state.channels.isEmpty else { return [EventLoopPromise<Void>]() }
      defer { state.whenEmpty = [] }
      return state.whenEmpty
    }
    for promise in waiting { promise.succeed() }
  }

  var count: Int { state.withLock { $0.channels.count } }
  var channels: [any Channel] { state.withLock { Array($0.channels.values) } }

  /// From now on every new connection is refused. Succeeds `promise` once none is left.
  func drain(_ promise: EventLoopPromise<Void>) {
    let isEmpty = state.withLock { state in
      state.isDraining = true
      if !state.channels.isEmpty { state.whenEmpty.append(promise) }
      return state.channels.isEmpty
    }
    if isEmpty { promise.succeed() }
  }
}
