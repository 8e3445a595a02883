import Foundation

/// A child process that inherits its three standard streams and no other descriptor.
///
/// Foundation's `Process` finds out that a child has ended through a socket which children started
/// at
/// the same time inherit; a server that stays behind then keeps the wait from ever returning. Here
/// the
/// child's other descriptors are closed and its end is waited for with `waitpid(2)`.
final class ChildProcess {
  enum Stream {
    case null
    case pipe
    /// Standard error only: the same pipe as standard output.
    case output
  }

  let processIdentifier: pid_t
  /// Our ends of the pipes; -1 where there is none. Closed by ``closeInput()`` and on deinit.
  private(set) var input: Int32 = -1
  let output: Int32
  let errorOutput: Int32
  private var status: Int32?

  /// - Parameter arguments: the program, looked up in `PATH`, and its arguments.
  /// - Throws: ``CommandFailure`` when it cannot be started.
  init(
    _ arguments: [String], environment: [String: String] = [:], input: Stream = .null,
    errors: Stream = .pipe
  ) throws {
    let inputs = try input == .pipe ? ChildProcess.makePipe() : (read: -1, write: -1)
    let outputs = try ChildProcess.makePipe()
    let failures = try errors == .pipe ? ChildProcess.makePipe() : (read: -1, write: -1)
    defer { for end in [inputs.read, outputs.write, failures.write] where end >= 0 { close(end) } }
    do {
      processIdentifier = try ChildProcess.spawn(
        arguments, environment: environment, input: inputs.read, output: outputs.write,
        errors: errors == .pipe ? failures.write : outputs.write)
    } catch {
      for end in [inputs.write, outputs.read, failures.read] where end >= 0 { close(end) }
      throw error
    }
    self.input = inputs.write
    output = outputs.read
    errorOutput = failures.read
  }

  deinit {
    closeInput()
    close(output)
    if errorOutput >= 0 { close(errorOutput) }
    if status == nil { terminate() }
  }

  func closeInput() {
    if input >= 0 { close(input) }
    input = -1
  }

  /// Writes all bytes to the child's standard input.
  func write(_ text: String) throws {
    var bytes = ArraySlice(Array(text.utf8))
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Foundation.write(input, $0.baseAddress, $0.count) }
      if written < 0 {
        guard errno == EINTR else {
          throw CommandFailure(description: "write to process \(processIdentifier): errno \(errno)")
        }
      } else {
        bytes = bytes.dropFirst(written)
      }
    }
  }

  /// What there is to read from one of our ends; empty at its end.
  static func read(from end: Int32) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
      repeat {
        count = max(-1, Foundation.read(end, buffer.baseAddress, buffer.count))
      } while count < 0 && errno == EINTR
      count = max(0, count)
    }
  }

  /// Waits for the end; the exit status, or 128 + the signal's number as a shell tells it.
  @discardableResult
  func wait() -> Int32 {
    if let status { return status }
    var word: Int32 = 0
    while waitpid(processIdentifier, &word, 0) < 0, errno == EINTR {}
    let signal = word & 0x7f
    let result = signal == 0 ? (word >> 8) & 0xff : 128 + signal
    status = result
    return result
  }

  /// Ends the child with SIGTERM and reaps it.
  func terminate() {
    guard status == nil else { return }
    kill(processIdentifier, SIGTERM)
    wait()
  }

  private static func makePipe() throws -> (read: Int32, write: Int32) {
    // A child that is gone must give an error from write(2), not kill the tests.
    signal(SIGPIPE, SIG_IGN)
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw CommandFailure(description: "make pipe: errno \(errno)")
    }
    return (ends[0], ends[1])
  }

  private static func spawn(
    _ arguments: [String], environment: [String: String], input: Int32, output: Int32,
    errors: Int32
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if input >= 0 {
      posix_spawn_file_actions_adddup2(&actions, input, 0)
    } else {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    }
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, errors, 2)

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var defaults = sigset_t()
    sigemptyset(&defaults)
    sigaddset(&defaults, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    // Dispatch's threads block signals, and a child would keep them blocked: no timer of it would
    // ring.
    var mask = sigset_t()
    sigemptyset(&mask)
    posix_spawnattr_setsigmask(&attributes, &mask)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

    let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    // The tests' own directory may be closed to another user; `env` also looks the program up.
    var words: [UnsafeMutablePointer<CChar>?] =
      (["env", "--chdir=/"] + arguments).map { strdup($0) } + [nil]
    var settings: [UnsafeMutablePointer<CChar>?] =
      variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in words + settings { free(pointer) } }
    var process: pid_t = 0
    closeOnExec()
    let code = posix_spawn(&process, "/usr/bin/env", &actions, &attributes, &words, &settings)
    guard code == 0 else {
      throw CommandFailure(description: "start \(arguments[0]): errno \(code)")
    }
    return process
  }

  /// Marks every descriptor but the standard streams, so that no child keeps one of another's open.
  private static func closeOnExec() {
    for descriptor in 3..<Int32(1024) {
      let flags = fcntl(descriptor, F_GETFD)
      if flags >= 0, flags & FD_CLOEXEC == 0 {
        _ = fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC)
      }
    }
  }
}
