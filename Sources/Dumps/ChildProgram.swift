import CProcess
import ControlPlane
import Foundation

/// A program of PostgreSQL's under way, in a session of its own. Every call blocks its thread.
final class ChildProgram {
  private let pid: pid_t
  private let name: String
  private let errorsPath: String
  private var status: Int32?
  private var isStopped = false

  /// - Parameters:
  ///   - input: becomes standard input; the caller closes its own copy. -1 is `/dev/null`.
  ///   - errors: a file that takes what the program says on standard error.
  init(
    _ path: String, _ arguments: [String], environment: [String: String] = [:],
    input: Int32 = -1, output: Int32 = -1, errors: String
  ) throws {
    name = (path as NSString).lastPathComponent
    errorsPath = errors
    let descriptor = open(errors, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw DumpError.file("open", errors) }
    defer { close(descriptor) }
    var variables = ["PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "30"]
    variables.merge(environment) { $1 }
    var pid: pid_t = 0
    let code = Self.withCStrings([path] + arguments) { arguments in
      Self.withCStrings(variables.map { "\($0.key)=\($0.value)" }) { environment in
        exzo_spawn_with_input(&pid, path, arguments, environment, input, output, descriptor)
      }
    }
    guard code == 0 else {
      throw DumpError("start '\(path)': \(String(cString: strerror(code)))")
    }
    self.pid = pid
  }

  /// The exit status once the program has ended; `nil` before. A signal counts as 128 and more.
  func poll() -> Int32? {
    if let status { return status }
    var raw: Int32 = 0
    if waitpid(pid, &raw, WNOHANG) == pid { status = Self.exitStatus(raw) }
    return status
  }

  @discardableResult
  func wait() -> Int32 {
    if let status { return status }
    var raw: Int32 = 0
    while waitpid(pid, &raw, 0) < 0, errno == EINTR {}
    let ended = Self.exitStatus(raw)
    status = ended
    return ended
  }

  /// Ends the program and what it started, if it still runs.
  func end() {
    guard poll() == nil else { return }
    Glibc.kill(-pid, SIGKILL)
    wait()
  }

  /// Stops and goes on again with the program and its workers.
  func hold(_ holds: Bool) {
    guard holds != isStopped, poll() == nil else { return }
    isStopped = holds
    Glibc.kill(-pid, holds ? SIGSTOP : SIGCONT)
  }

  /// - Throws: with what the program said, where it did not end well.
  func check(_ action: String) throws {
    let status = wait()
    guard status != 0 else { return }
    throw DumpError(
      "\(action): \(name) ended with status \(status): \(said.isEmpty ? silence : said)",
      isTemporary: ["server closed the connection", "could not connect"].contains {
        said.contains($0)
      })
  }

  /// What may have kept it from saying anything: the file that takes it is on the disk that it fills.
  private var silence: String {
    var disk = statvfs()
    let directory = (errorsPath as NSString).deletingLastPathComponent
    guard statvfs(directory, &disk) == 0, UInt64(disk.f_bavail) * UInt64(disk.f_frsize) < 1 << 20
    else { return "it said nothing" }
    return "No space left on the disk of '\(directory)'"
  }

  /// What the program complained of, without its reports of progress.
  var said: String {
    let text = String(
      decoding: FileManager.default.contents(atPath: errorsPath)?.suffix(1 << 20) ?? Data(),
      as: UTF8.self)
    let lines = text.split(separator: "\n")
    guard let first = lines.firstIndex(where: { $0.contains("error:") || $0.contains("ERROR:") })
    else { return String(text.suffix(1000)) }
    return lines[first...].prefix(6).joined(separator: " ").prefix(1500).description
  }

  private static func exitStatus(_ raw: Int32) -> Int32 {
    raw & 0x7f == 0 ? (raw >> 8) & 0xff : 128 + (raw & 0x7f)
  }

  private static func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
  }
}

/// Two ends of a pipe, closed in children and closed when the value goes.
final class ProgramPipe {
  private(set) var reading: Int32
  private(set) var writing: Int32

  init() throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw DumpError.file("make", "a pipe") }
    reading = ends[0]
    writing = ends[1]
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // Fewer turns for much data; where it is refused the pipe stays as it is.
    _ = fcntl(writing, 1031, 1 << 20)  // F_SETPIPE_SZ
  }

  deinit {
    closeReading()
    closeWriting()
  }

  func closeReading() {
    if reading >= 0 { close(reading) }
    reading = -1
  }

  func closeWriting() {
    if writing >= 0 { close(writing) }
    writing = -1
  }

  /// Bytes that are there; empty at the end, `nil` where none came within the time.
  func read(milliseconds: Int32) throws -> [UInt8]? {
    var descriptor = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
    let ready = Glibc.poll(&descriptor, 1, milliseconds)
    if ready == 0 || (ready < 0 && errno == EINTR) { return nil }
    var failure: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in
      let got = Glibc.read(reading, buffer.baseAddress, buffer.count)
      if got < 0 { failure = errno }
      count = max(got, 0)
    }
    guard failure == 0 else {
      if failure == EINTR { return nil }
      throw DumpError("read a pipe: \(String(cString: strerror(failure)))")
    }
    return bytes
  }

  /// - Throws: where the other side has gone.
  func write(_ bytes: UnsafeRawBufferPointer) throws {
    var done = 0
    while done < bytes.count {
      let put = Glibc.write(writing, bytes.baseAddress! + done, bytes.count - done)
      if put < 0 {
        if errno == EINTR { continue }
        throw DumpError("write to a pipe: \(String(cString: strerror(errno)))")
      }
      done += put
    }
  }

  func write(_ text: String) throws {
    try Array(text.utf8).withUnsafeBytes { try write($0) }
  }
}

extension DumpError {
  /// The failure of a file-system call, from `errno`.
  static func file(_ verb: String, _ path: String) -> DumpError {
    let code = errno
    return DumpError(
      "\(verb) '\(path)': \(String(cString: strerror(code)))",
      hint: code == ENOSPC ? "make room on the disk of the data directory and try again" : nil)
  }
}
