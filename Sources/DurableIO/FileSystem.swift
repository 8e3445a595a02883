/// The file system as the durable parts of Exzo see it, so that tests can fail any call, lose power
/// at any sync, and count what is written.
///
/// Every call blocks its thread and must not run on the cooperative pool. Paths are absolute.
/// `operation` names what the caller is doing ("append to page log") and appears in errors.
public protocol FileSystem: Sendable {
  /// Opens a file. On throw nothing was created.
  func open(_ path: String, _ mode: OpenMode, operation: StaticString) throws -> any OpenFile
  /// Renames, replacing the target. Durable only after ``syncDirectory(_:operation:)``.
  func rename(_ from: String, to: String, operation: StaticString) throws
  /// Adds a second name to a file (`link(2)`).
  func link(_ from: String, to: String, operation: StaticString) throws
  func unlink(_ path: String, operation: StaticString) throws
  /// Creates a directory and its missing parents, mode 0700; no error where it exists.
  func makeDirectory(_ path: String, operation: StaticString) throws
  func removeDirectory(_ path: String, operation: StaticString) throws
  /// Names in a directory, sorted, without `.` and `..`.
  func list(_ path: String, operation: StaticString) throws -> [String]
  /// `nil` where nothing exists at the path.
  func status(_ path: String, operation: StaticString) throws -> FileStatus?
  /// Makes creations, renames and removals in the directory durable (`fsync(2)` on it).
  func syncDirectory(_ path: String, operation: StaticString) throws
  /// Bytes free to an unprivileged user on the file system that holds `path`.
  func freeBytes(_ path: String, operation: StaticString) throws -> UInt64
}

/// An open file. Safe to use from several threads at once.
public protocol OpenFile: AnyObject, Sendable {
  var path: String { get }
  /// Reads up to `buffer.count` bytes; fewer only at the end of the file.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, operation: StaticString)
    throws -> Int
  /// Writes all bytes. Readable on return, not durable; on throw any part may have been written.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, operation: StaticString) throws
  /// Writes `head` and then `body` in one `pwritev(2)`.
  func write(
    _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at offset: UInt64,
    operation: StaticString) throws
  /// `fdatasync(2)`. After a failure the file's unsynced writes must be taken for lost.
  func sync(operation: StaticString) throws
  func truncate(to size: UInt64, operation: StaticString) throws
  /// Reserves space (`fallocate(2)`); the file grows to cover it.
  func allocate(_ range: Range<UInt64>, operation: StaticString) throws
  /// Frees the space below a range, which then reads as zeros (`FALLOC_FL_PUNCH_HOLE`).
  func punchHole(_ range: Range<UInt64>, operation: StaticString) throws
  func size(operation: StaticString) throws -> UInt64
  /// Whether the page cache holds the whole file (`mincore(2)`), so that writing over parts of its pages reads nothing.
  func isCached(operation: StaticString) throws -> Bool
  /// Closes; further calls throw. Also done on deinit.
  func close()
}

/// How a file is opened.
public enum OpenMode: Sendable {
  case read
  /// Must exist.
  case readWrite
  /// Created empty, mode 0600, where it does not exist.
  case createReadWrite
  /// Created; an error where it exists.
  case createNew
}

public struct FileStatus: Sendable, Equatable {
  public var size: UInt64
  public var isDirectory: Bool
  /// Bytes of disk it occupies (`st_blocks` x 512).
  public var allocatedBytes: UInt64

  public init(size: UInt64, isDirectory: Bool, allocatedBytes: UInt64) {
    self.size = size
    self.isDirectory = isDirectory
    self.allocatedBytes = allocatedBytes
  }
}
