import ControlPlane
import Logging
import ServiceLifecycle

/// Works on operations and schedules.
///
/// At shutdown what is under way is cancelled and waited for, but not for long: a call to a compute that is opening
/// cannot be taken back. Operations are durable; the next start goes on with them.
struct Schedulers: Service {
  let plane: ControlPlane
  let log: Logger

  private static let patience: Duration = .seconds(20)

  func run() async throws {
    let (ends, end) = AsyncStream.makeStream(of: Result<Void, any Error>?.self)
    let work = Task { try await plane.run() }
    Task { end.yield(await work.result) }
    // Of its own: a cancelled task is told at once that a stream has ended.
    let waiter = Task { await ends.first { _ in true } }
    let first = await withTaskCancellationOrGracefulShutdownHandler {
      await waiter.value
    } onCancelOrGracefulShutdown: {
      work.cancel()
      Task {
        try await Task.sleep(for: Self.patience)
        end.yield(nil)
      }
    }
    guard let result = first ?? nil else {
      log.warning(
        "operations are still under way",
        metadata: ["after": "\(Self.patience)", "hint": "the next start goes on with them"])
      return
    }
    do { try result.get() } catch is CancellationError {}
  }
}
