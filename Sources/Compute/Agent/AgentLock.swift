import Glibc

/// Says that an agent is alive, and lets its successor prove that it is not.
///
/// State: `flock(2)` on `agent.lock`, held for the agent's whole life; the kernel frees it when the process ends,
/// however it ends. The file carries the process id. Nobody opens a line's volume without it: two
/// agents on one page log would destroy it.
final class AgentLock: Sendable {
  private let descriptor: Int32

  private init(descriptor: Int32) { self.descriptor = descriptor }
  deinit { close(descriptor) }

  /// Takes the lock or says who has it.
  static func take(_ directory: LineDirectory) throws -> AgentLock {
    let lock = AgentLock(descriptor: try openFile(directory))
    guard flock(lock.descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw ComputeError(
        .agent, "take '\(directory.agentLock)': process \(lock.holder ?? 0) runs this compute")
    }
    ftruncate(lock.descriptor, 0)
    let text = "\(getpid())\n"
    _ = text.withCString { pwrite(lock.descriptor, $0, strlen($0), 0) }
    return lock
  }

  /// Ends the agent that holds the lock, by force, and returns once it is gone. Blocks the thread.
  /// - Throws: ``ComputeError`` where it outlives `SIGKILL` for 10 s.
  static func endHolder(_ directory: LineDirectory) throws {
    let lock = AgentLock(descriptor: try openFile(directory))
    for attempt in 0..<1000 {
      if flock(lock.descriptor, LOCK_EX | LOCK_NB) == 0 { return }
      if attempt % 100 == 0, let holder = lock.holder { kill(holder, SIGKILL) }
      // A killed agent's thread that tells the kernel to forget a page waits for whoever reads it, who waits for the
      // agent: the kernel ends the connection when it is forced, busy or not. (Calls into the mount do not hold it:
      // `OwnMount`.)
      if attempt == 100 { umount2(directory.mountPoint, Int32(MNT_FORCE)) }
      usleep(10_000)
    }
    throw ComputeError(
      .process,
      "end the agent of '\(directory.path)': process \(lock.holder ?? 0) still runs after SIGKILL",
      hint: "look at its state with ps; a process in state D waits for a device")
  }

  private static func openFile(_ directory: LineDirectory) throws -> Int32 {
    let descriptor = open(directory.agentLock, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw ComputeError(
        .environment, "open '\(directory.agentLock)': \(String(cString: strerror(errno)))")
    }
    return descriptor
  }

  private var holder: pid_t? {
    var buffer = [UInt8](repeating: 0, count: 32)
    let count = pread(descriptor, &buffer, buffer.count, 0)
    guard count > 0 else { return nil }
    return pid_t(String(decoding: buffer.prefix { (48...57).contains($0) }, as: UTF8.self))
  }
}
