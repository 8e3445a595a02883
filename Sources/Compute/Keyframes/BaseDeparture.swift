import Foundation
import History
import Logging
import Synchronization
import Volume

/// Lets the volume of a line that was opened without replay leave its base while the server runs on it.
///
/// ## Purpose
/// Once a keyframe of the line stands alone, nothing of what it was opened from is needed any more: neither its
/// ancestors' WAL and layers, nor the pages made of them on the local disk, nor what makes them. Later keyframes
/// take the place of that one when its layers have been merged into others.
///
/// ## State and invariants
/// The order: a manifest names the former base and the new one; reads go to the new one, and those under way on
/// the former one end; a manifest names the new one only. So retention never takes what the volume reads.
///
/// ## Crash
/// At any step: whoever opens the volume next reads the newest keyframe that stands alone, and says so.
///
/// ## Concurrency
/// One task; reads go on meanwhile.
struct BaseDeparture: Sendable {
  let base: MovingBaseView
  /// What the volume was opened over, until it has left it.
  let former: FormerBase
  let writer: LineWriter
  let keyframes: KeyframeService
  let server: ServerSession
  let log: Logger
  let storage: LayerStorage
  /// Where to stand still; for tests.
  var pause: AgentSpecification.BaseStep?
  var interval: Duration = .seconds(2)

  /// Runs until its task is cancelled.
  /// - Parameter forget: called when nobody reads the former base any more.
  func run(forget: @escaping @Sendable () async -> Void) async {
    var wait = interval
    while !Task.isCancelled {
      do {
        try await Task.sleep(for: wait)
        try await checkpointIfOverdue()
        try await leave(forget)
        wait = interval
      } catch is CancellationError {
        return
      } catch {
        // The volume goes on with what it reads; the store may be away.
        log.warning("the line's base is not left yet", metadata: ["error": "\(error)"])
        wait = min(wait * 2, .seconds(300))
      }
    }
  }

  /// A keyframe follows each checkpoint, and without writes there is none.
  private func checkpointIfOverdue() async throws {
    guard await keyframes.isBaseOverdue else { return }
    let redo = await keyframes.redoLSN
    try await server.checkpoint()
    await keyframes.waitForKeyframe(after: redo)
    if let failure = await keyframes.failure {
      throw ComputeError(.agent, "leave the line's base: \(failure)")
    }
  }

  private func leave(_ forget: @escaping @Sendable () async -> Void) async throws {
    let layers = try await writer.moveBase { layers in
      await stand(at: .announced)
      try await blocking {
        base.move(to: try StandaloneBaseView(tree: base.tree, layers: layers, storage: storage))
        former.release()
      }
      await forget()
      await stand(at: .moved)
    }
    guard let layers else { return }
    log.info("the line's base is left", metadata: ["layers": "\(layers.count)"])
    await stand(at: .confirmed)
  }

  private func stand(at step: AgentSpecification.BaseStep) async {
    guard pause == step else { return }
    log.info("stands still while it leaves its base", metadata: ["step": "\(step)"])
    // Ends early only when the task is cancelled: then the compute stops anyway.
    try? await Task.sleep(for: .seconds(86_400))
  }
}

/// What a volume was opened over. With its last holder go its made pages, caches and open objects.
final class FormerBase: Sendable {
  private let view: Mutex<LazyBaseView?>

  /// - Parameter view: `nil` where the volume was opened over a keyframe that stands alone.
  init(_ view: LazyBaseView?) { self.view = Mutex(view) }

  /// Ends its workers and lets it go.
  func release() {
    let held = view.withLock { view in
      defer { view = nil }
      return view
    }
    held?.close()
  }
}
