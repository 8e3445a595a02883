import Synchronization

/// What passed through a ``CountingFileSystem`` so far.
public struct FileSystemCounts: Sendable, Equatable {
  public var bytesRead: UInt64 = 0
  public var bytesWritten: UInt64 = 0
  public var reads: UInt64 = 0
  public var writes: UInt64 = 0
  /// Syncs of files and directories.
  public var syncs: UInt64 = 0
}

/// A file system that counts what passes through it; benches and tests read ``counts``.
public final class CountingFileSystem: FileSystem {
  private let inner: any FileSystem
  fileprivate let counters = Mutex(FileSystemCounts())

  public init(_ inner: any FileSystem) { self.inner = inner }

  public var counts: FileSystemCounts { counters.withLock { $0 } }

  public func open(
    _ path: String, _ mode: OpenMode, operation: StaticString
  ) throws -> any OpenFile {
    CountingFile(try inner.open(path, mode, operation: operation), of: self)
  }
  public func rename(_ from: String, to: String, operation: StaticString) throws {
    try inner.rename(from, to: to, operation: operation)
  }
  public func link(_ from: String, to: String, operation: StaticString) throws {
    try inner.link(from, to: to, operation: operation)
  }
  public func unlink(_ path: String, operation: StaticString) throws {
    try inner.unlink(path, operation: operation)
  }
  public func makeDirectory(_ path: String, operation: StaticString) throws {
    try inner.makeDirectory(path, operation: operation)
  }
  public func removeDirectory(_ path: String, operation: StaticString) throws {
    try inner.removeDirectory(path, operation: operation)
  }
  public func list(_ path: String, operation: StaticString) throws -> [String] {
    try inner.list(path, operation: operation)
  }
  public func status(_ path: String, operation: StaticString) throws -> FileStatus? {
    try inner.status(path, operation: operation)
  }
  public func syncDirectory(_ path: String, operation: StaticString) throws {
    try inner.syncDirectory(path, operation: operation)
    counters.withLock { $0.syncs += 1 }
  }
  public func freeBytes(_ path: String, operation: StaticString) throws -> UInt64 {
    try inner.freeBytes(path, operation: operation)
  }
}

private final class CountingFile: OpenFile {
  let inner: any OpenFile
  let owner: CountingFileSystem

  init(_ inner: any OpenFile, of owner: CountingFileSystem) {
    self.inner = inner
    self.owner = owner
  }

  var path: String { inner.path }

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, operation: StaticString
  ) throws -> Int {
    let count = try inner.read(into: buffer, at: offset, operation: operation)
    owner.counters.withLock {
      $0.reads += 1
      $0.bytesRead += UInt64(count)
    }
    return count
  }
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, operation: StaticString) throws {
    try inner.write(bytes, at: offset, operation: operation)
    countWrite(bytes.count)
  }
  func write(
    _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at offset: UInt64,
    operation: StaticString
  ) throws {
    try inner.write(head, body, at: offset, operation: operation)
    countWrite(head.count + body.count)
  }
  func sync(operation: StaticString) throws {
    try inner.sync(operation: operation)
    owner.counters.withLock { $0.syncs += 1 }
  }
  func truncate(to size: UInt64, operation: StaticString) throws {
    try inner.truncate(to: size, operation: operation)
  }
  func allocate(_ range: Range<UInt64>, operation: StaticString) throws {
    try inner.allocate(range, operation: operation)
  }
  func punchHole(_ range: Range<UInt64>, operation: StaticString) throws {
    try inner.punchHole(range, operation: operation)
  }
  func isCached(operation: StaticString) throws -> Bool {
    try inner.isCached(operation: operation)
  }
  func size(operation: StaticString) throws -> UInt64 { try inner.size(operation: operation) }
  func close() { inner.close() }

  private func countWrite(_ bytes: Int) {
    owner.counters.withLock {
      $0.writes += 1
      $0.bytesWritten += UInt64(bytes)
    }
  }
}
