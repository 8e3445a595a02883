import CFuse
import Glibc
import Logging
import Synchronization
import Volume

/// A volume as a mounted file system.
///
/// *Purpose.* Answers the kernel's requests for one mount point from one volume. Only this target
/// knows `errno` and FUSE; the volume knows neither.
///
/// *State and invariants.*
/// 1. Every open of a regular file holds one retain of that file in the volume, from the answer to
///    the open until the kernel's release, or until the session ends, whichever is first.
/// 2. What the kernel caches is what the volume answers: the kernel is the only client, and where
///    the volume takes something back (a page of which one piece came) ``invalidate(_:_:)`` says
///    so.
/// 3. Writes reach the volume before the caller's `write(2)` returns, in order within a file; with
///    ``MountOptions/cachesWrites`` before its `fsync(2)` or last `close(2)` does, in any order.
/// 4. Workers end only when the kernel has ended the connection, or when ``unmount(grace:)`` has
///    taken the mount out of the tree. A request taken from the kernel is answered before its
///    worker ends.
///
/// *Crash.* The connection ends with the process. Files that were open then answer every call,
/// `fsync` included, with an error for ever; a new session at the same path is another file system
/// to them. The path stays occupied by the dead mount until ``MountPoint/clearDeadMount(at:)``.
///
/// *Concurrency.* `threadCount` threads of its own; calls below block and must not run on the
/// cooperative pool. Signals are blocked on its threads and not handled.
///
/// *Not guarded here.* Two sessions over one volume.
public final class MountSession: Sendable {
  let volume: Volume
  let options: MountOptions
  /// As ``MountOptions/cachesWrites``.
  public var cachesWrites: Bool { options.cachesWrites }
  /// Absolute, links resolved.
  public let path: String
  /// Set once before any worker starts, freed after the last has ended.
  private let connection = Mutex<Connection?>(nil)
  let notifications: WorkQueue
  let openFiles = OpenFiles()
  let failures: FailureLog
  private let ended = Gate()
  private let pool: WorkerPool
  private let runningWorkers = Atomic<Int>(0)
  /// Workers end after the request that they take next.
  private let isStopping = Atomic<Bool>(false)

  /// libfuse's session, safe to use from many threads.
  private struct Connection: @unchecked Sendable {
    let session: OpaquePointer
  }

  private init(volume: Volume, path: String, options: MountOptions) throws {
    self.volume = volume
    self.path = path
    self.options = options
    failures = FailureLog(logger: options.logger)
    notifications = try WorkQueue(name: "exzo-notify")
    pool = WorkerPool(wanted: min(options.waitingThreadCount, options.threadCount))
  }

  // MARK: - Life

  /// Mounts `volume` at `path`, an empty directory. On return requests are answered; on throw
  /// nothing is mounted.
  ///
  /// Takes the volume's ``Volume/observeDroppedPieces(_:)`` for itself until it ends. The volume
  /// stays open after the session.
  /// - Throws: ``MountError``, whose message names what is missing and whose hint says the way out.
  public static func mount(
    _ volume: Volume, at path: String, options: MountOptions
  ) throws -> MountSession {
    let path = try SystemMounts.absolutePath(path)
    try MountPoint.check(path)
    let session = try MountSession(volume: volume, path: path, options: options)
    do {
      try session.start()
    } catch {
      session.notifications.close()
      throw error
    }
    return session
  }

  func start() throws {
    var table = MountSession.operations
    let session = try LibraryLog.capturing { log in
      try withArguments { arguments in
        guard
          let session = fuse_session_new(
            &arguments, &table, MemoryLayout<fuse_lowlevel_ops>.size,
            Unmanaged.passUnretained(self).toOpaque())
        else { throw MountError(.failed, "prepare mount of '\(path)': \(log.text)") }
        guard fuse_session_mount(session, path) == 0 else {
          fuse_session_destroy(session)
          throw MountPoint.failure(path, log.text)
        }
        return Connection(session: session)
      }
    }
    connection.withLock { $0 = session }
    _ = fcntl(fuse_session_fd(session.session), F_SETFD, FD_CLOEXEC)
    volume.observeDroppedPieces { [weak self] file, range in self?.invalidate(file, range) }
    do {
      try startWorkers(session)
    } catch {
      _ = SystemMounts.unmount(path, lazily: true)
      throw error
    }
    raiseLimits()
  }

  private func withArguments<Result>(
    _ body: (inout fuse_args) throws -> Result
  ) throws -> Result {
    var mountOptions = "fsname=\(options.name),subtype=exzo,default_permissions,noatime"
    if options.allowsOtherUsers { mountOptions += ",allow_other" }
    var arguments = fuse_args()
    defer { fuse_opt_free_args(&arguments) }
    for argument in ["exzo", "-o", mountOptions] {
      guard fuse_opt_add_arg(&arguments, argument) == 0 else {
        throw MountError(.failed, "prepare mount of '\(path)': out of memory")
      }
    }
    return try body(&arguments)
  }

  private func startWorkers(_ connection: Connection) throws {
    for number in 1...options.threadCount {
      runningWorkers.add(1, ordering: .relaxed)
      do {
        try startThread("exzo-mount-\(number)") { [self] in
          serve(connection.session)
          workerEnded()
        }
      } catch {
        // Those already started end when the caller takes the mount away; the last frees the
        // session.
        workerEnded()
        throw error
      }
    }
  }

  /// Takes and answers requests until the kernel ends the connection or the session is told to
  /// exit.
  private func serve(_ session: OpaquePointer) {
    var buffer = fuse_buf()
    defer { free(buffer.mem) }
    var surplus = 0
    while !isStopping.load(ordering: .acquiring) {
      pool.beginReceiving(&surplus)
      let count = fuse_session_receive_buf(session, &buffer)
      pool.endReceiving(mayBeSlow: count > 0 && mayBeSlow(buffer))
      if count == -EINTR { continue }
      guard count > 0 else { break }  // 0 and -ENODEV: unmounted
      fuse_session_process_buf(session, &buffer)
    }
  }

  /// Whether the request in `buffer` may wait for a disk or a base. Writes only append to the page
  /// log.
  private func mayBeSlow(_ buffer: fuse_buf) -> Bool {
    // Every request begins with its length and its code (struct fuse_in_header of <linux/fuse.h>).
    let code = buffer.mem.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
    switch code {
    case 2, 3, 16, 42: return false  // FORGET, GETATTR, WRITE, BATCH_FORGET
    default: return true
    }
  }

  private func workerEnded() {
    pool.close()
    let left = runningWorkers.subtract(1, ordering: .acquiringAndReleasing).newValue
    guard left == 0 else { return }
    volume.observeDroppedPieces(nil)
    notifications.close()
    // Closing the device fails whatever still waits for an answer, so nothing hangs on a detached
    // tree.
    if let last = connection.withLock({ $0.take() }) { fuse_session_destroy(last.session) }
    for handle in openFiles.removeAll() { closeFile(handle) }
    ended.open()
  }

  /// Whether requests are being answered. Turns false by itself if someone else unmounts.
  public var isServing: Bool { runningWorkers.load(ordering: .acquiring) > 0 }

  /// Blocks until the mount is gone and every request has been answered, whoever unmounted.
  public func waitUntilEnded() { ended.wait() }

  /// Unmounts. On return the path is free, every request has been answered and no thread is left.
  /// Calling it again, or after someone else has unmounted, does nothing.
  ///
  /// While files are open it tries again until `grace` has passed; then the tree is taken out of
  /// the path all the same, and what is still open gets errors from then on.
  /// - Returns: whether it was clean, that is without taking open files away.
  @discardableResult
  public func unmount(grace: Duration = .seconds(5)) throws -> Bool {
    let deadline = ContinuousClock.now + grace
    let connection = FuseConnection(mountedAt: path)
    var isOurs = false
    defer { if isOurs { confirmWrites() } }
    while isServing {
      let code = SystemMounts.unmount(path, lazily: false)
      isOurs = code == 0
      if code == 0 || code == EINVAL || code == ENOENT { break }
      guard code == EBUSY else {
        throw MountError(.failed, "unmount '\(path)': \(reason(code))")
      }
      if ContinuousClock.now >= deadline {
        try detach()
        return false
      }
      if ended.wait(atMost: .milliseconds(20)) { return true }
    }
    // A copy of the mount in another process's mount namespace keeps the connection: then the kernel is told.
    if !ended.wait(atMost: .milliseconds(200)) {
      isOurs = false
      try connection?.abort()
      ended.wait()
    }
    return true
  }

  /// No file was open when the mount went: the kernel has handed over every page.
  private func confirmWrites() {
    guard cachesWrites, !isServing else { return }
    do {
      try volume.confirm()
    } catch {
      // Then they are taken back, as after a crash; nobody had synced them.
      failures.report(error, path: path)
    }
  }

  /// Takes the mount out of the tree and ends the workers although files are open.
  private func detach() throws {
    options.logger.warning("unmounting while files are open", metadata: ["path": "\(path)"])
    let root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    let code = SystemMounts.unmount(path, lazily: true)
    guard code == 0 || code == EINVAL else {
      if root >= 0 { close(root) }
      throw MountError(.failed, "unmount '\(path)' while files are open: \(reason(code))")
    }
    // A notification under way may wait for a page whose read a worker must answer: let it end
    // first.
    notifications.close()
    // Not fuse_session_exit: libfuse then throws away the requests that its readers have taken.
    isStopping.store(true, ordering: .releasing)
    pool.close()
    // A worker sleeps in read(2) until a request comes; each of these wakes one, which then ends.
    // The last may go unanswered until the device is closed, so this has its own thread.
    try startThread("exzo-unmount") { [self] in
      while isServing, root >= 0 {
        var status = statvfs()
        fstatvfs(root, &status)
      }
      if root >= 0 { close(root) }
    }
    ended.wait()
  }
}

// MARK: - Set-up of the connection

extension MountSession {
  fileprivate static let operations: fuse_lowlevel_ops = {
    var table = fuse_lowlevel_ops()
    table.`init` = { session, connection in
      Unmanaged<MountSession>.fromOpaque(session!).takeUnretainedValue()
        .initialise(&connection!.pointee)
    }
    addNameOperations(to: &table)
    addFileOperations(to: &table)
    addDirectoryOperations(to: &table)
    return table
  }()

  /// Chooses among what the kernel offers. Left out on purpose: `O_TRUNC` within open (the kernel
  /// then sends a change of size, one path for every truncation), dropping cached pages by time
  /// stamps (nobody else writes), and splicing (slower for 8 KiB pages).
  private func initialise(_ connection: inout fuse_conn_info) {
    let cache = options.cachesWrites ? FUSE_CAP_WRITEBACK_CACHE : 0
    let wanted =
      cache | FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_EXPLICIT_INVAL_DATA
      | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO
    connection.want = UInt32(bitPattern: wanted) & connection.capable
    connection.max_write = largestTransfer
    connection.max_readahead = largestTransfer
    connection.max_background = options.backgroundRequests
    connection.congestion_threshold = options.backgroundRequests * 3 / 4
  }

  /// Raises the kernel's read-ahead from its 128 KiB default, and the part of dirty memory that
  /// this mount may have from 1 per cent, which root may; without it the mount is slower and
  /// nothing else changes.
  private func raiseLimits() {
    // Without the mount table the setting cannot be found; it is not worth failing the mount.
    guard geteuid() == 0, let mount = try? SystemMounts.mounts(at: path).last else { return }
    var settings = ["read_ahead_kb": "\(largestTransfer / 1024)"]
    if options.cachesWrites { settings["max_ratio"] = "\(dirtyShare)" }
    for (name, value) in settings {
      let path = "/sys/class/bdi/\(mount.device)/\(name)"
      let file = open(path, O_WRONLY | O_CLOEXEC)
      guard file >= 0 else { continue }
      defer { close(file) }
      if write(file, value, value.utf8.count) < 0 {
        options.logger.debug(
          "the mount's limit stays at its default", metadata: ["setting": "\(path)"])
      }
    }
  }
}

// MARK: - The kernel's cache

extension MountSession {
  /// Makes the kernel forget the cached bytes of a range, which the next read then asks for again.
  /// Returns before that is done.
  public func invalidate(_ file: FileID, _ range: Range<UInt64>) {
    // Not taken only when the session is ending, and the kernel's cache with it.
    _ = notifications.add { [weak self] in
      guard let session = self?.connection.withLock({ $0 }) else { return }
      // ENOENT: the kernel does not know the file, so it has cached nothing of it.
      fuse_lowlevel_notify_inval_inode(
        session.session, file.rawValue, off_t(range.lowerBound), off_t(range.count))
    }
  }
}
