import Glibc

/// Lets any thread wake the one that waits in ``ReplicationConnection/receive(timeout:wake:_:)``.
public final class WakePipe: @unchecked Sendable {
  // The descriptors never change; the kernel orders reads and writes.
  let readEnd: Int32
  private let writeEnd: Int32

  /// - Throws: ``PostgresError`` `.connectFailed` where the process has no descriptors left.
  public init() throws {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else {
      throw PostgresError(.connectFailed, "create pipe: \(String(cString: strerror(errno)))")
    }
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    (readEnd, writeEnd) = (ends[0], ends[1])
  }

  deinit {
    close(readEnd)
    close(writeEnd)
  }

  /// Makes the present or the next wait end at once. Never blocks.
  public func wake() {
    var byte: UInt8 = 1
    // A full pipe is a wake-up not yet taken: nothing to add.
    _ = write(writeEnd, &byte, 1)
  }

  /// Waits for ``wake()``, at most `limit`.
  public func wait(atMost limit: Duration) {
    var descriptor = pollfd(fd: readEnd, events: Int16(POLLIN), revents: 0)
    let milliseconds = Int32(clamping: Int64((limit / .milliseconds(1)).rounded(.up)))
    // Interrupted by a signal it ends early, as by a wake-up.
    if poll(&descriptor, 1, max(0, milliseconds)) > 0 { drain() }
  }

  func drain() {
    var bytes = (UInt64(0), UInt64(0))
    while withUnsafeMutableBytes(of: &bytes, { read(readEnd, $0.baseAddress, $0.count) }) > 0 {}
  }
}
