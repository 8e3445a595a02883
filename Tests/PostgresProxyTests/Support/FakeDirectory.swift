import Foundation
import PostgresProxy
import Synchronization

/// A directory that knows one endpoint and remembers what it was asked.
final class FakeDirectory: ProxyDirectory {
  struct State {
    var socketPath: String
    var verifiers: [String: String]
    var endpointID = Backend.endpoint
    var wakeDelay = Duration.zero
    var wakeError: ProxyRefusal?
    var allowsReplication = false
    var refusal: ProxyRefusal?
    var allowedAddress: String?
    var lookUps: [ProxyTarget] = []
    var wakes = 0
    var opened = 0
    var closed = 0
    var transfers: [TransferCount] = []
  }

  private let state: Mutex<State>

  init(_ backend: Backend) {
    state = Mutex(State(socketPath: backend.socketPath, verifiers: backend.verifiers))
  }

  func change(_ body: @Sendable (inout State) -> Void) { state.withLock { body(&$0) } }
  var now: State { state.withLock { $0 } }

  func bytes(_ kind: SessionKind) -> Int {
    now.transfers.filter { $0.kind == kind }.reduce(0) { $0 + $1.bytes }
  }

  func authentication(
    target: ProxyTarget, role: String
  ) async throws -> RoleAuthentication? {
    try state.withLock { state in
      state.lookUps.append(target)
      if case .branch = target.name {
        throw ProxyRefusal(sqlState: "0A000", message: "no moments here")
      }
      guard target.id == state.endpointID, let verifier = state.verifiers[role] else { return nil }
      var found = RoleAuthentication(
        scramVerifier: verifier, endpointID: target.id,
        allowsReplication: state.allowsReplication, refusal: state.refusal)
      if let allowed = state.allowedAddress { found.admits = { $0 == allowed } }
      return found
    }
  }

  func wake(_ endpointID: String) async throws -> ComputeAddress {
    let delay = state.withLock { state in
      state.wakes += 1
      return state.wakeDelay
    }
    if delay > .zero { try await Task.sleep(for: delay) }
    return try state.withLock { state in
      if let error = state.wakeError { throw error }
      return ComputeAddress(socketPath: state.socketPath)
    }
  }

  func record(transfer: TransferCount) { change { $0.transfers.append(transfer) } }
  func sessionOpened(endpointID: String) { change { $0.opened += 1 } }
  func sessionClosed(endpointID: String) { change { $0.closed += 1 } }
}
