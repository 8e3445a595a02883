import DurableIO
import Glibc
import Synchronization

/// An object store in a local directory: one file an object, named as its key.
///
/// ## Purpose
/// The default store, and the fast path: objects are plain files that readers open themselves
/// (``localFile(_:)``).
///
/// ## State and invariants
/// 1. A file below `objects/` is a whole object; its content never changes.
/// 2. Files below `incoming/` belong to puts that are under way, or to processes that ended.
/// 3. A key never is the directory part of another (`a/b` and `a/b/c` exclude each other).
///
/// ## On disk
/// `objects/<key>` · `incoming/<process id>-<random>-<number>`
///
/// ## Crash
/// A put is visible after its rename and durable after the sync of its directory; both have
/// happened when it returns. What a crash leaves in `incoming/` is removed when the store is next
/// opened, unless the process that made it still lives.
///
/// ## Concurrency
/// Safe from any task and from several processes. Calls run on the store's own threads.
///
/// ## Not guarded here
/// Damage of the files: readers verify what they read. Processes in different process-id
/// namespaces must not share a store: they could remove each other's unfinished puts (which then
/// fail and leave nothing).
public final class LocalObjectStore: ObjectStore {
  /// The directory that holds the store.
  public let root: String
  let fileSystem: any FileSystem
  private let threads: BlockingThreads
  private let uploads: IncomingDirectory
  /// Directories whose names this store has made durable; emptied where it grows past its bound.
  private let durableDirectories = Mutex<Set<String>>([])
  private static let durableDirectoryLimit = 16384

  /// Opens the store in `root`, creating it where there is none. Blocks the thread.
  public init(
    root: String, fileSystem: any FileSystem, threads: BlockingThreads = BlockingThreads(count: 4)
  ) throws {
    self.root = root
    self.fileSystem = fileSystem
    self.threads = threads
    do {
      try fileSystem.makeDurableDirectory("\(root)/objects", operation: "open object store")
      uploads = try IncomingDirectory("\(root)/incoming", fileSystem: fileSystem)
      try fileSystem.syncDirectory(root, operation: "open object store")
    } catch {
      throw translated(error, "open object store", root)
    }
  }

  public func localFile(_ key: ObjectKey) -> String? { path(of: key) }

  func path(of key: ObjectKey) -> String { "\(root)/objects/\(key.name)" }

  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    try await perform("put object", key.name) { [self] in
      let directory = parentDirectory(of: path(of: key))
      try makeDurableDirectory(directory)
      let source = try uploads.write(body)
      do {
        try fileSystem.rename(source, to: path(of: key), operation: "put object")
      } catch {
        // The first error is the one to report; a leftover is removed at the next opening.
        try? fileSystem.unlink(source, operation: "put object")
        throw error
      }
      try fileSystem.syncDirectory(directory, operation: "put object")
    }
  }

  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    try await perform("get object", key.name) { [self] in
      let file = try fileSystem.open(path(of: key), .read, operation: "get object")
      defer { file.close() }
      let size = try file.size(operation: "get object")
      let range = range ?? 0..<size
      guard range.upperBound <= size else {
        throw ObjectStorageError(
          .outOfRange, operation: "get object", key: key.name,
          detail: "range \(range) of \(size) bytes")
      }
      return try [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
        let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: range.count)
        count = try file.read(into: target, at: range.lowerBound, operation: "get object")
        guard count == range.count else {
          throw ObjectStorageError(
            .outOfRange, operation: "get object", key: key.name,
            detail: "\(count) of \(range.count) bytes at \(range.lowerBound)")
        }
      }
    }
  }

  public func read(
    _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    do {
      let file = try fileSystem.open(path(of: key), .read, operation: "get object")
      defer { file.close() }
      let count = try file.read(into: buffer, at: offset, operation: "get object")
      let size = count == buffer.count ? nil : try file.size(operation: "get object")
      if let size, size < offset + UInt64(buffer.count) {
        throw ObjectStorageError(
          .outOfRange, operation: "get object", key: key.name,
          detail: "\(count) of \(buffer.count) bytes at \(offset) of \(size)")
      }
    } catch {
      throw translated(error, "get object", key.name)
    }
  }

  public func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice {
    try await perform("get object", key.name) { [self] in
      let file = try fileSystem.open(path(of: key), .read, operation: "get object")
      defer { file.close() }
      let size = try file.size(operation: "get object")
      let found = range.clamped(to: 0..<size)
      let bytes = try [UInt8](unsafeUninitializedCapacity: found.count) { buffer, count in
        let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: found.count)
        count = try file.read(into: target, at: found.lowerBound, operation: "get object")
      }
      return ObjectSlice(bytes: bytes, objectSize: size)
    }
  }

  public func directories(in prefix: String) async throws -> [String] {
    precondition(prefix.isEmpty || prefix.hasSuffix("/"), "'\(prefix)' is no directory")
    return try await perform("list objects", prefix) { [self] in
      let base = "\(root)/objects/\(prefix)"
      guard try status(base)?.isDirectory == true else { return [] }
      return try fileSystem.list(base, operation: "list objects").filter { name in
        // A directory whose objects were all deleted may be left: it holds no key.
        guard ObjectKey.isValid(prefix + name) else { return false }
        var walk = LocalListing(store: self, prefix: "\(prefix)\(name)/", after: "", limit: 1)
        return try !walk.run().isEmpty
      }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
  }

  public func size(_ key: ObjectKey) async throws -> UInt64? {
    try await perform("look up object", key.name) { [self] in
      guard let status = try status(path(of: key)), !status.isDirectory else { return nil }
      return status.size
    }
  }

  public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    try await perform("list objects", prefix) { [self] in
      var walk = LocalListing(store: self, prefix: prefix, after: after?.name ?? "", limit: limit)
      return try walk.run()
    }
  }

  public func delete(_ key: ObjectKey) async throws {
    try await perform("delete object", key.name) { [self] in
      guard let status = try status(path(of: key)), !status.isDirectory else { return }
      do {
        try fileSystem.unlink(path(of: key), operation: "delete object")
      } catch let error as FileError where error.isNotFound {
        return
      }
      try fileSystem.syncDirectory(
        parentDirectory(of: path(of: key)), operation: "delete object")
    }
  }

  /// `nil` also where a part of the path is an object and not a directory.
  func status(_ path: String) throws -> FileStatus? {
    do {
      return try fileSystem.status(path, operation: "look up object")
    } catch let error as FileError where error.code == ENOTDIR || error.isNotFound {
      return nil
    }
  }

  private func perform<Value: Sendable>(
    _ operation: String, _ key: String, _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    do {
      return try await threads.run(body)
    } catch {
      throw translated(error, operation, key)
    }
  }

  /// Creates a directory below `objects/`; its name and its parents' names are durable on return.
  private func makeDurableDirectory(_ directory: String) throws {
    // That it exists is not enough: whoever made it may not have synced its parent yet.
    if durableDirectories.withLock({ $0.contains(directory) }) { return }
    try fileSystem.makeDirectory(directory, operation: "put object")
    try fileSystem.syncNames(from: parentDirectory(of: directory), upTo: root, "put object")
    durableDirectories.withLock {
      if $0.count >= LocalObjectStore.durableDirectoryLimit { $0.removeAll() }
      $0.insert(directory)
    }
  }
}

/// The error of an object store that a file-system call's error stands for.
private func translated(_ error: any Error, _ operation: String, _ key: String) -> any Error {
  if error is ObjectStorageError { return error }
  guard let file = error as? FileError else {
    return ObjectStorageError(.unavailable, operation: operation, key: key, cause: error)
  }
  let code: ObjectStorageError.Code =
    switch file.code {
    case ENOENT, ENOTDIR, EISDIR: .notFound
    case ENOSPC, EDQUOT: .noSpace
    case EACCES, EPERM, EROFS: .denied
    default: .unavailable
    }
  return ObjectStorageError(code, operation: operation, key: key, cause: file)
}
