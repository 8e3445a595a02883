import Foundation
import Synchronization

/// One running server, from start to exit.
///
/// Purpose: starts `postgres` under the compute's user, follows its log, reaps it.
/// State: 1. the server's parent is a thread of ours that lives until the server has ended, because
/// the
/// death signal is bound to that thread; 2. `exitStatus` is set once and only after the reaping.
/// Concurrency: all methods from any thread; ``waitUntilReady(deadline:)`` and
/// ``waitForExit(deadline:)`` block.
/// Not guarded here: survivors of a killed postmaster; see ``endProcesses(workingIn:)``.
public final class Postmaster: Sendable {
  private struct State {
    var pid: pid_t = 0
    var log = PostmasterLog()
    var startFailure: ComputeError?
    var exitStatus: Int32?
  }

  private let state = Mutex(State())
  private let changed = NSCondition()
  private let logFile: Int32
  private let onStart: @Sendable (pid_t) -> Void
  private let onExit: @Sendable (Int32) -> Void

  /// Starts the server and returns once its process exists.
  /// - Parameters:
  ///   - onStart: called on a thread of ours with the process, before it has started others.
  ///   - onExit: called on a thread of ours, once, with the wait status.
  public init(
    installation: PostgresInstallation, directory: LineDirectory, identity: ProcessIdentity,
    settings: ServerSettings, recovering: Bool, withoutApplyWorkers: Bool,
    onStart: @escaping @Sendable (pid_t) -> Void = { _ in },
    onExit: @escaping @Sendable (Int32) -> Void
  ) throws {
    self.onStart = onStart
    self.onExit = onExit
    logFile = open(directory.serverLog, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard logFile >= 0 else {
      throw ComputeError(
        .process,
        "open the server log '\(directory.serverLog)': \(String(cString: strerror(errno)))")
    }
    var pipeEnds: [Int32] = [-1, -1]
    // Children get descriptors only by name, so this pipe needs no close-on-exec.
    guard pipe(&pipeEnds) == 0 else {
      throw ComputeError(
        .process, "make a pipe for the server log: \(String(cString: strerror(errno)))")
    }
    let (readEnd, writeEnd) = (pipeEnds[0], pipeEnds[1])
    let arguments =
      ["-D", directory.mountPoint]
      + settings.assignments(
        directory: directory, recovering: recovering, withoutApplyWorkers: withoutApplyWorkers
      )
      .flatMap { ["-c", "\($0.0)=\($0.1)"] }
    let command = identity.applied(
      to: ProcessCommand(
        path: installation.server, arguments: arguments,
        // The server's user may have no name on this machine; libpq, which subscriptions and foreign
        // servers connect by, asks for one unless it is told what a plain server's would be.
        environment: [
          "LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin", "PGUSER": "postgres",
        ],
        output: writeEnd, errorOutput: writeEnd),
      endsWithUs: true)
    Thread.detachNewThread { [self] in follow(log: readEnd) }
    Thread.detachNewThread { [self] in run(command, logPipe: writeEnd) }
    wait(deadline: nil) { $0.pid != 0 || $0.startFailure != nil }
    if let failure = state.withLock({ $0.startFailure }) { throw failure }
  }

  public var pid: pid_t { state.withLock { $0.pid } }
  public var log: PostmasterLog { state.withLock { $0.log } }
  /// Wait status, once the server has ended.
  public var exitStatus: Int32? { state.withLock { $0.exitStatus } }

  /// Blocks until the server accepts connections.
  /// - Throws: ``ComputeError`` with its last words where it ends first or `seconds` pass.
  public func waitUntilReady(seconds: Double) throws {
    let deadline = Date(timeIntervalSinceNow: seconds)
    wait(deadline: deadline) { $0.log.isReady || $0.exitStatus != nil }
    let (log, status) = state.withLock { ($0.log, $0.exitStatus) }
    if let status {
      throw ComputeError(
        .recovery,
        "start the server: it \(describe(waitStatus: status)): "
          + (log.fatal ?? log.recent.last ?? "without a word"))
    }
    guard log.isReady else {
      throw ComputeError(
        .recovery,
        "start the server: not ready after \(Int(seconds)) s: \(log.recent.last ?? "no log line")")
    }
  }

  /// Sends a signal; no error where the process has ended.
  public func signal(_ number: Int32) {
    state.withLock { state in
      if state.pid != 0 && state.exitStatus == nil { _ = kill(state.pid, number) }
    }
  }

  /// Blocks until the server has ended, or `seconds` have passed; returns its wait status.
  public func waitForExit(seconds: Double) -> Int32? {
    wait(deadline: Date(timeIntervalSinceNow: seconds)) { $0.exitStatus != nil }
    return exitStatus
  }

  private func wait(deadline: Date?, until done: (State) -> Bool) {
    changed.lock()
    defer { changed.unlock() }
    while !state.withLock({ done($0) }) {
      if let deadline {
        if !changed.wait(until: deadline) { return }
      } else {
        changed.wait()
      }
    }
  }

  private func update(_ change: (inout State) -> Void) {
    state.withLock { change(&$0) }
    changed.lock()
    changed.broadcast()
    changed.unlock()
  }

  private func run(_ command: ProcessCommand, logPipe: Int32) {
    do {
      let pid = try spawn(command)
      onStart(pid)
      close(logPipe)
      update { $0.pid = pid }
      let status = reap(pid)
      update { $0.exitStatus = status }
      onExit(status)
    } catch {
      close(logPipe)
      let failure = error as? ComputeError ?? ComputeError(.process, "\(error)")
      update { $0.startFailure = failure }
    }
  }

  /// Copies the log to its file and takes in each line, until every process of the server has
  /// closed it.
  private func follow(log readEnd: Int32) {
    var pending: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      let count = read(readEnd, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { break }
      _ = write(logFile, buffer, count)
      pending += buffer[..<count]
      while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
        let line = String(decoding: pending[..<end], as: UTF8.self)
        pending.removeSubrange(...end)
        update { $0.log.observe(line) }
      }
    }
    close(readEnd)
    close(logFile)
  }
}
