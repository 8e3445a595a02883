import Glibc

/// How a program is started.
public struct ProcessCommand: Sendable {
  /// Absolute path of the program.
  public var path: String
  public var arguments: [String]
  /// The whole environment: nothing is inherited, so that no secret leaks.
  public var environment: [String: String]
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
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  for (target, source) in [(Int32(1), command.output), (Int32(2), command.errorOutput)] {
    if let source {
      posix_spawn_file_actions_adddup2(&actions, source, target)
    } else {
      posix_spawn_file_actions_addopen(&actions, target, "/dev/null", O_WRONLY, 0)
    }
  }
  posix_spawn_file_actions_addclosefrom_np(&actions, 3)
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  var signals = sigset_t()
  sigemptyset(&signals)
  posix_spawnattr_setsigmask(&attributes, &signals)
  sigfillset(&signals)
  posix_spawnattr_setsigdefault(&attributes, &signals)
  var flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
  if command.newSession { flags |= Int32(POSIX_SPAWN_SETSID) }
  posix_spawnattr_setflags(&attributes, Int16(flags))

  var pid: pid_t = 0
  let code = withCStrings([command.path] + command.arguments) { arguments in
    withCStrings(command.environment.map { "\($0.key)=\($0.value)" }.sorted()) { environment in
      posix_spawn(&pid, command.path, &actions, &attributes, arguments, environment)
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
  return signal == 0 ? "exited with status \((status >> 8) & 0xFF)" : "was ended by signal \(signal)"
}

private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  pointers.append(nil)
  defer { for pointer in pointers { free(pointer) } }
  return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
}
