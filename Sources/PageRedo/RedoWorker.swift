import CProcess
import Glibc
import PostgresFormat

/// One worker process and the memory shared with it.
///
/// Purpose: starts `postgres --single` with the extension, hands it batches, tells how it ended.
/// State: 1. the process exists from `init` to ``end()``; 2. the exchange is written by us between
/// answers and by the worker until it answers; 3. nothing in the exchange is believed but the bytes
/// of outcomes, pages and messages at the places that we laid out.
/// Concurrency: one thread, which also made it and lives as long: the death signal is bound to it.
final class RedoWorker {
  enum Answer {
    case done
    /// Redo raised an error in the last request completed; the worker has ended.
    case ended
    /// The worker is gone or was stopped, in words.
    case lost(String, wasKilled: Bool)
  }

  /// How a process ended.
  struct Ending {
    var text: String
    /// By SIGKILL, which comes from outside and says nothing of the page.
    var wasKilled = false
  }

  let exchange: UnsafeMutableRawPointer
  let exchangeBytes: Int
  private(set) var batches = 0
  private let pid: pid_t
  private let channel: Int32
  private let log: String
  private let timeLimit: UInt32
  private var isReaped = false

  private static let startSeconds: Int32 = 20
  /// The worker ends itself at its limit; this much later we do.
  private static let graceSeconds: Int32 = 2
  /// How long a process may take to end after it closed its channel.
  private static let closingMilliseconds = 2_000

  /// Starts the process and returns when it waits for its first batch.
  init(
    _ configuration: RedoPoolConfiguration, scratch: ScratchDirectory, number: Int, isolates: Bool
  ) throws(PageRedoError) {
    let directory = try scratch.makeWorkerDirectory(number)
    exchangeBytes = configuration.exchangeBytes
    timeLimit = configuration.timeLimit
    log = "\(directory)/log"
    exchange = try RedoWorker.mapExchange(
      "\(directory)/exchange", bytes: configuration.exchangeBytes, scratch: scratch)
    do {
      (pid, channel) = try RedoWorker.start(
        WorkerCommand(
          configuration, library: try scratch.readableLibrary(), directory: directory,
          isolates: isolates), log: log)
    } catch {
      munmap(exchange, exchangeBytes)
      throw error
    }
    guard wait(seconds: RedoWorker.startSeconds) == ExchangeFormat.Word.ready else {
      let ending = end()
      throw PageRedoError(
        .workerStart,
        "start a redo worker: it \(ending.text): \(lastWords() ?? "without a word")")
    }
  }

  deinit {
    end()
    munmap(exchange, exchangeBytes)
  }

  /// Runs the batch that lies in the exchange. Blocks until the worker answers or its time is up.
  func run() -> Answer {
    batches += 1
    exchange.put(timeLimit, at: ExchangeFormat.Header.seconds)
    var word = ExchangeFormat.Word.run
    guard send(channel, &word, 1, Int32(MSG_NOSIGNAL)) == 1 else {
      return lost(end())
    }
    switch wait(seconds: Int32(clamping: timeLimit) + RedoWorker.graceSeconds) {
    case ExchangeFormat.Word.done: return .done
    case ExchangeFormat.Word.ended:
      end()
      return .ended
    default:
      return lost(end())
    }
  }

  private func lost(_ ending: Ending) -> Answer {
    .lost(
      "the worker \(ending.text)" + (lastWords().map { ": \($0)" } ?? ""),
      wasKilled: ending.wasKilled)
  }

  /// Requests of the batch whose outcome is final.
  var completed: Int {
    Int(exchange.number(ExchangeFormat.Header.completed, as: UInt32.self))
  }

  /// Ends the process, if that has not happened, and says how it ended.
  @discardableResult
  func end() -> Ending {
    guard !isReaped else { return Ending(text: "had ended") }
    isReaped = true
    // A closed channel is seen a moment before the process is gone.
    var descriptor = pollfd(fd: channel, events: Int16(POLLIN), revents: 0)
    let isClosing = poll(&descriptor, 1, 0) == 1 && Int32(descriptor.revents) & POLLHUP != 0
    var status: Int32 = 0
    var reaped: pid_t = 0
    for _ in 0..<(isClosing ? RedoWorker.closingMilliseconds : 0) where reaped == 0 {
      reaped = waitpid(pid, &status, WNOHANG)
      if reaped == 0 { usleep(1_000) }
    }
    if reaped == 0 {
      kill(pid, SIGKILL)
      repeat { reaped = waitpid(pid, &status, 0) } while reaped < 0 && errno == EINTR
    }
    close(channel)
    let signal = status & 0x7F
    if signal == SIGALRM || !isClosing { return Ending(text: "was ended at its time limit") }
    return signal == 0
      ? Ending(text: "exited with status \((status >> 8) & 0xFF)")
      : Ending(text: "was ended by signal \(signal)", wasKilled: signal == SIGKILL)
  }

  /// One byte from the worker; nil when it is gone or the time is up.
  private func wait(seconds: Int32) -> UInt8? {
    var descriptor = pollfd(fd: channel, events: Int16(POLLIN), revents: 0)
    let deadline = RedoWorker.now() + Double(seconds)
    while true {
      let left = max(0, deadline - RedoWorker.now())
      let ready = poll(&descriptor, 1, Int32(left * 1000) + 1)
      if ready < 0 && errno == EINTR { continue }
      guard ready > 0 else { return nil }
      var word: UInt8 = 0
      return recv(channel, &word, 1, 0) == 1 ? word : nil
    }
  }

  private static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// The last line that the server wrote.
  private func lastWords() -> String? {
    let file = open(log, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let size = lseek(file, 0, Int32(SEEK_END))
    let count = pread(file, &buffer, buffer.count, max(0, size - buffer.count))
    guard count > 0 else { return nil }
    return buffer[..<count].split(separator: UInt8(ascii: "\n")).last.map {
      String(decoding: $0, as: UTF8.self)
    }
  }
}

/// How the process comes to be.
extension RedoWorker {
  private static func mapExchange(
    _ path: String, bytes: Int, scratch: ScratchDirectory
  ) throws(PageRedoError) -> UnsafeMutableRawPointer {
    let file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else {
      throw PageRedoError(.workerStart, "create '\(path)': \(systemReason())")
    }
    defer { close(file) }
    try scratch.give(path)
    // Not by need: a write to a page for which a full tmpfs has no room would end this process by SIGBUS.
    var code: Int32
    repeat { code = posix_fallocate(file, 0, bytes) } while code == EINTR
    guard code == 0 else {
      throw PageRedoError(
        .workerStart, "reserve \(bytes) bytes for '\(path)': \(String(cString: strerror(code)))",
        hint: "its file system, by default /dev/shm, needs more room")
    }
    guard
      let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0),
      memory != MAP_FAILED
    else { throw PageRedoError(.workerStart, "map '\(path)': \(systemReason())") }
    return memory
  }

  private static func start(
    _ command: WorkerCommand, log: String
  ) throws(PageRedoError) -> (pid_t, Int32) {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0
    else { throw PageRedoError(.workerStart, "make a channel: \(systemReason())") }
    let errors = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer {
      close(ends[1])
      if errors >= 0 { close(errors) }
    }
    var pid: pid_t = 0
    let code = withCStrings(command.words) { words in
      withCStrings(["LC_ALL=C", "TZ=UTC"]) { environment in
        exzo_spawn(&pid, words[0], words, environment, ends[1], errors, 1)
      }
    }
    guard code == 0 else {
      close(ends[0])
      throw PageRedoError(
        .workerStart, "start '\(command.words[0])': \(String(cString: strerror(code)))")
    }
    return (pid, ends[0])
  }
}

/// The command line of a worker.
struct WorkerCommand {
  var words: [String]

  init(
    _ configuration: RedoPoolConfiguration, library: String, directory: String, isolates: Bool
  ) {
    // No network and no System V memory but its own; then the death signal, bound to our thread,
    // after the change of user, which would clear it.
    var words = isolates ? WorkerCommand.isolation : []
    if isolates {
      // Volumes that happen to be mounted now must not stay so because of us.
      var script = "umount -l -a -t fuse.exzo 2> /dev/null;"
      var zeroth = "sh"
      if let identity = configuration.identity,
        let passwd = WorkerCommand.passwordFile(for: identity, in: directory)
      {
        script += " mount --bind \"$0\" /etc/passwd &&"
        zeroth = passwd
      }
      words += ["/bin/sh", "-c", script + " exec \"$@\"", zeroth]
    }
    words += ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--no-new-privs"]
    if getuid() == 0, let identity = configuration.identity {
      words += ["--reuid", "\(identity.uid)", "--regid", "\(identity.gid)", "--clear-groups"]
      words += ["--inh-caps=-all"]
    }
    words += [configuration.server, "--single", "-D", directory, "-F"]
    words += (WorkerCommand.settings + ["shared_preload_libraries=\(library)"]).flatMap {
      ["-c", $0]
    }
    self.words = words + ["none"]
  }

  /// As small as a server can be. 256 buffers: the pages of one record and their maps are at most
  /// 100.
  private static let settings = [
    "shared_buffers=256", "dynamic_shared_memory_type=mmap", "huge_pages=off",
    "max_connections=4", "max_worker_processes=0", "autovacuum_max_workers=1",
    "max_wal_senders=0", "max_replication_slots=0", "max_prepared_transactions=0",
    "max_locks_per_transaction=10", "wal_buffers=32kB", "log_min_messages=fatal",
    "log_line_prefix=", "log_timezone=UTC", "timezone=UTC", "logging_collector=off",
  ]

  private static let isolation = [
    "/usr/bin/unshare", "--net", "--ipc", "--mount", "--propagation", "private", "--",
  ]

  /// A file for the worker to see as `/etc/passwd` where the system does not know its user: a server in
  /// single-user mode asks for its own user's name.
  private static func passwordFile(
    for identity: (uid: UInt32, gid: UInt32), in directory: String
  ) -> String? {
    guard getpwuid(identity.uid) == nil else { return nil }
    let path = "\(directory)/passwd"
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    // Without the file the worker says by itself that it does not know its user.
    guard file >= 0 else { return nil }
    defer { close(file) }
    let line = "exzo-redo:x:\(identity.uid):\(identity.gid)::/nonexistent:/usr/sbin/nologin\n"
    guard write(file, line, line.utf8.count) == line.utf8.count else { return nil }
    return path
  }

  /// Whether a process of ours may have namespaces of its own.
  static func canIsolate() -> Bool {
    guard getuid() == 0 else { return false }
    var pid: pid_t = 0
    let code = withCStrings(isolation + ["/bin/true"]) { words in
      withCStrings([]) { exzo_spawn(&pid, words[0], words, $0, -1, -1, 1) }
    }
    guard code == 0 else { return false }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    return status == 0
  }
}

private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  pointers.append(nil)
  defer { for pointer in pointers { free(pointer) } }
  return pointers.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
}
