import Dispatch
import Foundation
import Synchronization
import Testing

/// Bounds how many tests with servers or mounts run at once, and takes them off the cooperative
/// pool.
///
/// At most `EXZO_TEST_JOBS` (default 2) run together in the process. Their bodies run on threads of
/// their own, so that a test may block without stalling the others.
public struct HeavyTests: TestTrait, SuiteTrait, TestScoping {
  public var isRecursive: Bool { true }

  public func scopeProvider(for test: Test, testCase: Test.Case?) -> HeavyTests? {
    testCase == nil ? nil : self
  }

  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    await TestSlots.shared.acquire()
    defer { TestSlots.shared.release() }
    try await withTaskExecutorPreference(BlockingExecutor.shared) { try await function() }
  }
}

extension Trait where Self == HeavyTests {
  /// For tests that start servers, mount volumes or otherwise block: see ``HeavyTests``.
  public static var heavy: Self { HeavyTests() }
}

/// Runs a blocking closure on a thread of its own and waits for it without blocking the caller's.
public func onThread<Value: Sendable>(
  _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
  }
}

/// A counting gate in order of arrival.
private final class TestSlots: Sendable {
  static let shared = TestSlots(
    count: max(1, ProcessInfo.processInfo.environment["EXZO_TEST_JOBS"].flatMap(Int.init) ?? 2))

  private struct State {
    var free: Int
    var waiters: [CheckedContinuation<Void, Never>] = []
  }
  private let state: Mutex<State>

  init(count: Int) { state = Mutex(State(free: count)) }

  func acquire() async {
    await withCheckedContinuation { continuation in
      let isFree = state.withLock { state in
        guard state.free > 0 else {
          state.waiters.append(continuation)
          return false
        }
        state.free -= 1
        return true
      }
      if isFree { continuation.resume() }
    }
  }

  func release() {
    let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard !state.waiters.isEmpty else {
        state.free += 1
        return nil
      }
      return state.waiters.removeFirst()
    }
    next?.resume()
  }
}

/// Runs jobs on Dispatch's threads, which may block.
private final class BlockingExecutor: TaskExecutor {
  static let shared = BlockingExecutor()
  private let queue = DispatchQueue(label: "exzo.tests", attributes: .concurrent)

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    queue.async { unowned.runSynchronously(on: self.asUnownedTaskExecutor()) }
  }
}
