import CProcess
import Glibc

/// How a program is started.
public struct ProcessCommand: Sendable {
  /// Absolute path of the program.
  public var path: String
  public var arguments: [String]
  /// The whole environment: nothing is inherited, so that no secret leaks.
  public var environment: [String: String]
  /// The file descriptor that becomes the child's standard input; `nil` is `/dev/null`. With one the child always
  /// begins a session of its own.
  public var input: Int32?
  /// File descriptors that become the child's standard output and error; `nil` is `/dev/null`.
  public var output: Int32?
  public var errorOutput: Int32?
  /// Begins a session of its own, so that signals to our terminal or group do not reach it.
  public var newSession: Bool

  public init(
    path: String, arguments: [String], environment: [String: String] = [:], output: Int32? = nil,
    errorOutput: Int32? = nil, newSession: Bool = true
  ) {
    self.path = path
    self.arguments = arguments
    self.environment = environment
    self.output = output
    self.errorOutput = errorOutput
    self.newSession = newSession
  }
}

/// Starts a program with `posix_spawn(3)`; every other descriptor of ours is closed in it.
/// - Returns: the process id; the caller reaps it.
public func spawn(_ command: ProcessCommand) throws -> pid_t {
  var pid: pid_t = 0
  let code: Int32 = withCStrings([command.path] + command.arguments) { arguments in
    withCStrings(command.environment.map { "\($0.key)=\($0.value)" }.sorted()) { environment in
      let (output, errors) = (command.output ?? -1, command.errorOutput ?? -1)
      if let input = command.input {
        return exzo_spawn_with_input(
          &pid, command.path, arguments, environment, input, output, errors)
      }
      return exzo_spawn(
        &pid, command.path, arguments, environment, output, errors, command.newSession ? 1 : 0)
    }
  }
  guard code == 0 else {
    throw ComputeError(
      .process, "start '\(command.path)': \(String(cString: strerror(code)))")
  }
  return pid
}

/// Waits for a child and returns its wait status. Blocks the thread.
public func reap(_ pid: pid_t) -> Int32 {
  var status: Int32 = 0
  while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
  return status
}

/// What a wait status says, in words.
public func describe(waitStatus status: Int32) -> String {
  let signal = status & 0x7F
  return signal == 0
    ? "exited with status \((status >> 8) & 0xFF)" : "was ended by signal \(signal)"
}

private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  pointers.append(nil)
  defer { for pointer in pointers { free(pointer) } }
  return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
}
