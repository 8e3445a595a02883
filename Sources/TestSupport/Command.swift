import Foundation

/// A finished command: what it printed and how it ended.
public struct CommandResult: Sendable {
  /// Exit status, or 128 and the signal's number.
  public var status: Int32
  public var output: String
  public var errorOutput: String
}

public struct CommandFailure: Error, CustomStringConvertible {
  public var description: String
}

/// Runs a program to its end and returns what it printed. Blocks the thread. Throws on a status
/// other than 0 unless `allowFailure`.
///
/// Standard streams are files without a name, not pipes: a server that the command leaves behind keeps
/// nobody waiting. (Foundation's `Process` hands a socket to every descendant
/// and waits until the last of them has closed it.)
@discardableResult
public func run(
  _ arguments: [String], environment: [String: String] = [:], input: String? = nil,
  asPostgresUser: Bool = false, allowFailure: Bool = false
) throws -> CommandResult {
  var command = ["/usr/bin/env", "--chdir=/"]
  if asPostgresUser, getuid() == 0 {
    command += ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
  }
  let streams = try (0..<3).map { _ in try namelessFile() }
  defer { for stream in streams { close(stream) } }
  try writeAll(Array((input ?? "").utf8), to: streams[0])
  let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  let process = try spawn(
    command + arguments, variables.map { "\($0)=\($1)" }, streams: streams)
  var status: Int32 = 0
  while waitpid(process, &status, 0) < 0 {
    guard errno == EINTR else { throw systemFailure("wait for \(arguments[0])") }
  }
  let signal = status & 0x7F
  let result = CommandResult(
    status: signal == 0 ? status >> 8 & 0xFF : 128 + signal,
    output: try readAll(streams[1]), errorOutput: try readAll(streams[2]))
  guard result.status == 0 || allowFailure else {
    throw CommandFailure(
      description:
        "\(arguments.joined(separator: " ")): status \(result.status)\n\(result.errorOutput)")
  }
  return result
}

private func spawn(
  _ command: [String], _ environment: [String], streams: [Int32]
) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  for (target, stream) in streams.enumerated() {
    posix_spawn_file_actions_adddup2(&actions, stream, Int32(target))
  }
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  // Threads of Swift's pools block signals; a child that inherited that would never hear its alarms.
  var signals = sigset_t()
  sigemptyset(&signals)
  posix_spawnattr_setsigmask(&attributes, &signals)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
  var process: pid_t = 0
  let arguments = command.map { strdup($0) } + [nil]
  let variables = environment.map { strdup($0) } + [nil]
  defer { for pointer in arguments + variables { free(pointer) } }
  let code = posix_spawn(&process, command[0], &actions, &attributes, arguments, variables)
  guard code == 0 else {
    throw CommandFailure(description: "start \(command): \(String(cString: strerror(code)))")
  }
  return process
}

/// A file that no directory lists, closed in children.
private func namelessFile() throws -> Int32 {
  var template = Array("/tmp/exzo-run-XXXXXX".utf8CString)
  let descriptor = mkstemp(&template)
  guard descriptor >= 0 else { throw systemFailure("create temporary file") }
  _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
  unlink(template)
  return descriptor
}

private func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws {
  var offset = 0
  while offset < bytes.count {
    let written = bytes[offset...].withUnsafeBytes {
      pwrite(descriptor, $0.baseAddress, $0.count, off_t(offset))
    }
    guard written > 0 else { throw systemFailure("write temporary file") }
    offset += written
  }
}

private func readAll(_ descriptor: Int32) throws -> String {
  var bytes: [UInt8] = []
  var piece = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = pread(descriptor, &piece, piece.count, off_t(bytes.count))
    guard count >= 0 else { throw systemFailure("read temporary file") }
    if count == 0 { return String(decoding: bytes, as: UTF8.self) }
    bytes += piece[..<count]
  }
}

private func systemFailure(_ action: String) -> CommandFailure {
  CommandFailure(description: "\(action): \(String(cString: strerror(errno)))")
}
