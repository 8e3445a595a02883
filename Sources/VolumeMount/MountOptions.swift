import CFuse
import Glibc
import Logging
import Volume

/// How a volume appears in the file system, and with how many threads it is served.
public struct MountOptions: Sendable {
  /// Owner that every file shows, whoever created it: the uid that the server process runs under.
  public var ownerUID: UInt32
  public var ownerGID: UInt32
  /// Lets other users than the one who mounts reach the tree, within the files' permissions. Needs
  /// root, or `user_allow_other` in `/etc/fuse.conf`.
  public var allowsOtherUsers: Bool
  /// Shown as the source in the mount table.
  public var name: String
  /// Threads that serve requests, 2 to 64. A request that waits for a disk or for a remote base
  /// holds one, so this bounds how many such waits run side by side.
  public var threadCount: Int
  /// How many of them wait for requests when nothing happens; the rest come in when these are busy.
  public var waitingThreadCount: Int
  /// Requests that the kernel keeps in flight for reads ahead (`fadvise`), 12 to 1024.
  public var backgroundRequests: UInt32
  /// Whether the kernel may keep writes for a while, and sends them when it likes. Only for a volume that
  /// holds blocks back (``Volume/holdBack(until:)``).
  public var cachesWrites = false
  /// Called, on a thread of the mount's, when a write to a file that the kernel had taken already could not be
  /// made. What of the file is no more in the kernel's memory cannot be read from then on.
  public var onLostWrite: (@Sendable (FileID, any Error) -> Void)?
  public var logger: Logger

  public init(
    ownerUID: UInt32 = getuid(), ownerGID: UInt32 = getgid(),
    allowsOtherUsers: Bool = geteuid() == 0, name: String = "exzo", threadCount: Int = 16,
    waitingThreadCount: Int = 2,
    backgroundRequests: UInt32 = 128, logger: Logger
  ) {
    precondition(waitingThreadCount > 0)
    precondition((1...64).contains(threadCount))
    precondition((12...1024).contains(backgroundRequests))
    self.ownerUID = ownerUID
    self.ownerGID = ownerGID
    self.allowsOtherUsers = allowsOtherUsers
    self.name = name
    self.threadCount = threadCount
    self.waitingThreadCount = waitingThreadCount
    self.backgroundRequests = backgroundRequests
    self.logger = logger
  }
}

/// Largest read, write and read-ahead in bytes: the kernel's own upper bound of 256 pages.
let largestTransfer: UInt32 = 1 << 20
/// Seconds that the kernel may keep names and attributes. It is the only client, so nothing it has
/// not done itself ever changes them.
let kernelCacheSeconds: Double = 86_400
/// Per cent of the machine's dirty memory that a mount which caches writes may have.
let dirtyShare = 40
