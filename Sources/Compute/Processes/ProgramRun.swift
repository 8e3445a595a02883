import Foundation
import Glibc
import Synchronization

/// How a program came to its end.
public struct ProgramEnd: Sendable {
  /// Its exit status; a signal counts as 128 and its number.
  public var status: Int32
  /// What it wrote to standard output and error.
  public var output: String
  /// Whether its time was up, and it was killed for that.
  public var isTimedOut: Bool
}

/// Runs a program to its end on a thread of its own; what it says goes through a file.
///
/// Only the program itself is waited for, not what it leaves running in the background. It has a session of its own:
/// when its time is up, and when the task is cancelled, it is killed with everything that it started there.
///
/// - Parameters:
///   - input: what it reads.
///   - environment: beside a `PATH` and the locale `C`; nothing else is inherited.
///   - seconds: how long it may take; then it is killed.
/// - Throws: ``ComputeError`` `.process` where it cannot be started; `CancellationError` where the task was cancelled
///   while it ran.
public func runProgram(
  _ path: String, _ arguments: [String], input: Data = Data(),
  environment: [String: String] = [:], seconds: Double = 3600
) async throws -> ProgramEnd {
  try Task.checkCancellation()
  let ending = Ending()
  return try await withTaskCancellationHandler {
    try await withThread(named: "program") {
      try runBlocking(path, arguments, input, environment, seconds, ending)
    }
  } onCancel: {
    ending.ask()
  }
}

/// Whether a program is wanted no more.
private final class Ending: Sendable {
  private let state = Mutex(false)
  var isAsked: Bool { state.withLock { $0 } }
  func ask() { state.withLock { $0 = true } }
}

private func runBlocking(
  _ path: String, _ arguments: [String], _ input: Data, _ environment: [String: String],
  _ seconds: Double, _ ending: Ending
) throws -> ProgramEnd {
  let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
    "exzo-program-\(UUID().uuidString)")
  try FileManager.default.createDirectory(
    at: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
  defer {
    // What cannot be removed is a temporary file.
    try? FileManager.default.removeItem(at: directory)
  }
  let source = directory.appendingPathComponent("input")
  let output = directory.appendingPathComponent("output")
  try input.write(to: source)
  try Data().write(to: output)
  let (reading, writing) = (
    try FileHandle(forReadingFrom: source), try FileHandle(forWritingTo: output)
  )
  defer {
    // Nothing of ours is written through them.
    try? reading.close()
    try? writing.close()
  }
  var command = ProcessCommand(
    path: path, arguments: arguments,
    environment: [
      "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "30",
    ].merging(environment) { $1 },
    output: writing.fileDescriptor, errorOutput: writing.fileDescriptor)
  command.input = reading.fileDescriptor
  let (status, isTimedOut) = try wait(for: try spawn(command), seconds, ending)
  return ProgramEnd(
    status: status, output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
    isTimedOut: isTimedOut)
}

/// Waits for a child that leads a session, for so long; then ends it and its group.
private func wait(
  for child: pid_t, _ seconds: Double, _ ending: Ending
) throws -> (status: Int32, isTimedOut: Bool) {
  let deadline = ContinuousClock.now + .seconds(seconds)
  var raw: Int32 = 0
  var isTimedOut = false
  // Until it is reaped nobody else has its number.
  while true {
    let found = waitpid(child, &raw, WNOHANG)
    if found == child { break }
    guard found == 0 || errno == EINTR else {
      throw ComputeError(.process, "wait for process \(child): errno \(errno)")
    }
    let isAsked = ending.isAsked
    isTimedOut = !isAsked && ContinuousClock.now >= deadline
    if isAsked || isTimedOut {
      kill(-child, SIGKILL)
      raw = reap(child)
      if isAsked { throw CancellationError() }
      break
    }
    usleep(20_000)
  }
  return (raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f), isTimedOut)
}
