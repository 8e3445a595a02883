import Dispatch
import Glibc

/// An operating-system thread for blocking work, which must not run on the cooperative pool.
package final class NamedThread: Sendable {
  private let finished = DispatchSemaphore(value: 0)

  /// Starts a thread that runs `body` once.
  /// - Parameter name: cut to the kernel's 15 bytes.
  package init(_ name: String, _ body: @escaping @Sendable () -> Void) {
    let start = ThreadStart(name: String(name.prefix(15)), body: body, finished: finished)
    var thread = pthread_t()
    let context = Unmanaged.passRetained(start)
    let status = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        let start = Unmanaged<ThreadStart>.fromOpaque(context).takeRetainedValue()
        start.nameThread()
        start.body()
        start.finished.signal()
        return nil
      }, context.toOpaque())
    precondition(status == 0, "start thread '\(name)': \(String(cString: strerror(status)))")
    pthread_detach(thread)
  }

  /// Blocks until the thread's body has returned; any number of threads may call it.
  package func join() {
    finished.wait()
    finished.signal()
  }
}

private final class ThreadStart: Sendable {
  let name: String
  let body: @Sendable () -> Void
  let finished: DispatchSemaphore

  init(name: String, body: @escaping @Sendable () -> Void, finished: DispatchSemaphore) {
    self.name = name
    self.body = body
    self.finished = finished
  }

  /// Names the calling thread for `ps -L` and debuggers. Without effect where `/proc` is not
  /// mounted.
  func nameThread() {
    let descriptor = open("/proc/thread-self/comm", O_WRONLY)
    guard descriptor >= 0 else { return }
    _ = name.withCString { write(descriptor, $0, strlen($0)) }
    close(descriptor)
  }
}
