import CFuse
import Glibc

/// Starts a detached thread that takes no signals, so that the process's own handling of them is
/// untouched.
func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) throws {
  let start = Unmanaged.passRetained(ThreadStart(name: name, body: body))
  var attributes = pthread_attr_t()
  pthread_attr_init(&attributes)
  defer { pthread_attr_destroy(&attributes) }
  pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  var thread = pthread_t()
  var everything = sigset_t()
  var before = sigset_t()
  sigfillset(&everything)
  pthread_sigmask(SIG_SETMASK, &everything, &before)
  defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
  let status = pthread_create(
    &thread, &attributes,
    { argument in
      guard let argument else { return nil }
      let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
      nameThread(start.name)
      start.body()
      return nil
    }, start.toOpaque())
  guard status == 0 else {
    start.release()
    throw MountError(.failed, "start thread '\(name)': \(reason(status))")
  }
}

/// Names the calling thread, for `ps` and debuggers only: a failure changes nothing else.
private func nameThread(_ name: String) {
  let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
  guard file >= 0 else { return }
  _ = write(file, name, min(name.utf8.count, 15))
  close(file)
}

private final class ThreadStart: Sendable {
  let name: String
  let body: @Sendable () -> Void

  init(name: String, body: @escaping @Sendable () -> Void) {
    self.name = name
    self.body = body
  }
}

/// A worker's buffer for the answer that it builds, reused for every request.
///
/// One worker handles one request at a time and replies before it takes the next, so nothing else
/// uses it meanwhile.
enum AnswerBuffer {
  static let size = Int(largestTransfer)
  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    let status = pthread_key_create(&key) { free($0) }
    precondition(status == 0, "no thread-specific key left")
    return key
  }()

  /// This thread's buffer, page-aligned, ``size`` bytes; made at first use, freed with the thread.
  static var current: UnsafeMutableRawBufferPointer {
    if let existing = pthread_getspecific(key) {
      return UnsafeMutableRawBufferPointer(start: existing, count: size)
    }
    var memory: UnsafeMutableRawPointer?
    let status = posix_memalign(&memory, 4096, size)
    precondition(status == 0 && memory != nil, "out of memory")
    pthread_setspecific(key, memory)
    return UnsafeMutableRawBufferPointer(start: memory, count: size)
  }
}
