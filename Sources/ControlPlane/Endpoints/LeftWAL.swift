import APITypes
import Catalog
import Foundation
import Synchronization

/// Commits that an accident left on this machine's disk only.
///
/// They are acknowledged, and in nobody's head or past until their compute has run again: that must wait for nobody's
/// connecting. What was active runs again at once; what else holds such commits is suspended once more, which stores
/// them: a few at a time, because users wait for other operations, and again and again while it fails.
struct LeftWAL: Sendable {
  let core: Core
  private let tries = Tries()

  /// Computes that are suspended once more in one round.
  private static let atOnce = 2

  init(core: Core) { self.core = core }

  /// The endpoint was active when the machine or `serve` and its compute went down together.
  func startAgain(
    _ endpoint: EndpointRecord, _ compute: ComputeRecord, _ tx: CatalogTransaction
  ) throws {
    guard !endpoint.isDisabled, holdsSome(endpoint, compute) else { return }
    try enqueue(.startCompute, endpoint, to: .active, tx)
  }

  /// Looks for idle endpoints whose computes hold some; call it from time to time.
  func round() async throws {
    let now = core.clock.now
    // Most of the time there are none, and nothing is to be written then.
    let found = try await core.catalog.read { tx in
      try tx.endpoints(in: .idle).filter { endpoint in
        guard tries.isDue(endpoint.id, now) else { return false }
        return try tx.compute(of: endpoint.id).map { holdsSome(endpoint, $0) } ?? false
      }
    }
    guard !found.isEmpty else { return }
    try await core.catalog.write { tx in
      var left = Self.atOnce
      for endpoint in found where left > 0 {
        // Somebody may have started it meanwhile.
        guard let endpoint = try tx.endpoint(endpoint.id), endpoint.state == .idle,
          try enqueue(.suspendCompute, endpoint, to: .idle, tx)
        else { continue }
        tries.note(endpoint.id, now)
        left -= 1
      }
    }
    core.added.fire()
  }

  private func holdsSome(_ endpoint: EndpointRecord, _ compute: ComputeRecord) -> Bool {
    endpoint.type == .readWrite && core.fleet.holdsUnstoredWAL(line: compute.lineID.rawValue)
  }

  /// Returns whether it did: what is at work on the endpoint or its branch comes first.
  @discardableResult
  private func enqueue(
    _ kind: OperationKind, _ endpoint: EndpointRecord, to state: API.EndpointState,
    _ tx: CatalogTransaction
  ) throws -> Bool {
    let locks = [OperationLock.endpoint(endpoint.id), OperationLock.branch(endpoint.branchID)]
    guard let project = try tx.project(endpoint.projectID), var now = try tx.endpoint(endpoint.id),
      try tx.holder(of: locks, in: project.id) == nil
    else { return false }
    now.pendingState = state
    try tx.update(now)
    _ = try tx.enqueue(
      OperationRecord(
        kind, core, project: project, branch: endpoint.branchID, endpoint: endpoint.id,
        locks: [OperationLock.endpoint(endpoint.id)]))
    return true
  }
}

/// When an endpoint is tried again: after a minute, then after twice as long as the time before.
private final class Tries: Sendable {
  private let next = Mutex<[EndpointID: (time: Date, pause: TimeInterval)]>([:])
  private static let pauses: ClosedRange<TimeInterval> = 60...900

  func isDue(_ id: EndpointID, _ now: Date) -> Bool {
    next.withLock { $0[id].map { $0.time <= now } ?? true }
  }

  func note(_ id: EndpointID, _ now: Date) {
    next.withLock { next in
      let pause = min(
        next[id].map { $0.pause * 2 } ?? Self.pauses.lowerBound, Self.pauses.upperBound)
      next[id] = (now.addingTimeInterval(pause), pause)
    }
  }
}
