import CProcess
import Glibc
import Synchronization

/// Calls into a mount that this process serves itself.
public enum OwnMount {
  /// Runs `body` on a thread of its own that shares no file descriptor with the process, and waits for it.
  ///
  /// A call into the mount waits for this process's own workers. If the process is killed then, they are gone, and
  /// the caller, which the kernel lets wait for what a worker had taken, keeps every descriptor that it shares: among
  /// them `/dev/fuse`, whose closing would end its wait. The process would stay in state D for ever, and its locks with
  /// it. A thread that has none lets it go.
  ///
  /// `body` has the standard streams and what it opens itself; a descriptor of the process means nothing to it.
  /// Source: `request_wait_answer` in the kernel's `fs/fuse/dev.c`; close_range(2).
  /// - Throws: ``MountError`` where the thread cannot be made, and what `body` throws.
  public static func reach<Value: Sendable>(
    _ body: @escaping @Sendable () throws -> Value
  ) throws -> Value {
    let outcome = Outcome<Value>()
    try startThread("exzo-own-mount") {
      outcome.set(
        Result {
          try leaveDescriptors()
          return try body()
        })
    }
    return try outcome.wait().get()
  }

  private static func leaveDescriptors() throws {
    guard exzo_leave_descriptors() == 0 else {
      throw MountError(
        .failed, "leave the process's descriptors: \(reason(errno))",
        hint: "close_range(2) with CLOSE_RANGE_UNSHARE needs Linux 5.9")
    }
  }
}

/// What a thread came to.
private final class Outcome<Value: Sendable>: Sendable {
  private let result = Mutex<Result<Value, any Error>?>(nil)
  private let gate = Gate()

  func set(_ value: Result<Value, any Error>) {
    result.withLock { $0 = value }
    gate.open()
  }

  func wait() -> Result<Value, any Error> {
    gate.wait()
    guard let value = result.withLock({ $0 }) else { preconditionFailure("opened with a result") }
    return value
  }
}
