import Glibc

/// How a volume treats one file, decided by its path.
public struct FileClass: Sendable, Hashable {
  /// Kept in a plain local file, never logged, gone after a reopen.
  public var isOutsideHistory: Bool
  /// Blocks of ``blockSize`` enter the log whole or not at all, even when the write of one arrives
  /// in
  /// pieces.
  public var hasAtomicBlocks: Bool
  /// Writes are told to the observer; see ``Volume/observeWrites(_:)``.
  public var isObserved: Bool
  /// Of a file whose blocks carry a checksum: the number by which the first one's is made.
  public var firstBlock: UInt32?

  public init(
    isOutsideHistory: Bool = false, hasAtomicBlocks: Bool = false, isObserved: Bool = false,
    firstBlock: UInt32? = nil
  ) {
    self.isOutsideHistory = isOutsideHistory
    self.hasAtomicBlocks = hasAtomicBlocks
    self.isObserved = isObserved
    self.firstBlock = firstBlock
  }

  public static let persistent = FileClass()
  public static let atomicBlocks = FileClass(hasAtomicBlocks: true)
  public static let outsideHistory = FileClass(isOutsideHistory: true)
}

/// Tells a file's class from its path below the volume's root (no leading slash) and its kind.
/// Must be a pure
/// function: it is asked again after a reopen.
public typealias FileClassification = @Sendable (_ path: String, _ kind: FileKind) -> FileClass

/// What ``Volume/open(_:base:files:)`` needs to know.
public struct VolumeConfiguration: Sendable {
  public enum SyncMode: Sendable {
    case normal
    /// ``Volume/sync()`` returns at once until ``Volume/makeDurable()``: while a branch opens.
    case deferred
  }

  /// Where the volume lives: `state`, `log/`, `files/`, `scratch/`. Created when absent.
  public var directory: String
  public var classification: FileClassification
  public var syncMode: SyncMode = .normal
  /// Bytes of log since the last seal above which the pressure observer is called.
  public var logBudget: UInt64 = 1 << 30
  /// Bytes of one log segment: 64 KiB to 64 MiB.
  public var segmentSize: UInt64 = 64 << 20
  /// Upper bound on destaging in bytes a second; 0 for none.
  public var destageRate: UInt64 = 0
  /// Whether sealed epochs are destaged by the volume's own thread. Tests turn it off and call
  /// ``Volume/destage()``.
  public var destagesInBackground = true
  /// Nanoseconds since 1970, for modification times.
  public var clock: @Sendable () -> Int64 = currentTime

  public init(directory: String, classification: @escaping FileClassification) {
    self.directory = directory
    self.classification = classification
  }
}

/// The machine's real-time clock in nanoseconds since 1970.
@Sendable private func currentTime() -> Int64 {
  var now = timespec()
  clock_gettime(CLOCK_REALTIME, &now)
  return Int64(now.tv_sec) * 1_000_000_000 + Int64(now.tv_nsec)
}
