import DurableIO
import Synchronization

/// Keeps what was read of objects on the local disk, block by block.
///
/// ## Purpose
/// A branch opens from a bucket as from the disk: blocks that were read once, by any compute of the
/// machine, are read from a file from then on. Only what is touched is fetched.
///
/// ## State and invariants
/// 1. A block is handed out only if its checksum, object and place fit; else it is fetched again.
/// 2. The cache takes no more disk than its limit and what is written while room is made.
/// 3. What is put or deleted through this store is forgotten first.
///
/// ## On disk
/// One sparse file an object, slots of 16,416 bytes: docs/formats/object-cache.md.
///
/// ## Crash
/// The cache is not durable and need not be (invariant 1). It may be deleted at any time.
///
/// ## Concurrency
/// Shared by serve and all agents of a machine.
///
/// ## Not guarded here
/// An object that another process replaces under its key: history never does, and the readers of
/// objects that may be replaced read them whole, which passes the cache by.
public final class CachedObjectStore: ObjectStore {
  private let base: any ObjectStore
  private let directory: CacheDirectory
  private let threads: BlockingThreads
  private let neighbourhoods = Neighbourhoods()
  private let counts = Mutex(Counts())

  public struct Counts: Sendable, Equatable {
    /// Blocks read from the disk.
    public var hits: UInt64 = 0
    /// Blocks fetched from the store.
    public var misses: UInt64 = 0
  }

  /// - Parameter path: made where it is missing. - Parameter limit: bytes of disk.
  public init(
    _ base: any ObjectStore, directory path: String, limit: UInt64,
    threads: BlockingThreads = BlockingThreads(count: 2)
  ) throws {
    self.base = base
    self.threads = threads
    directory = try CacheDirectory(path, limit: limit)
  }

  public var statistics: Counts { counts.withLock { $0 } }
  public var usedBytes: UInt64 { directory.usedBytes }

  // MARK: Passed through

  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    forget(key)
    try await base.put(key, body)
    forget(key)
  }

  public func size(_ key: ObjectKey) async throws -> UInt64? { try await base.size(key) }
  public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing] {
    try await base.list(prefix: prefix, after: after, limit: limit)
  }
  public func directories(in prefix: String) async throws -> [String] {
    try await base.directories(in: prefix)
  }
  public func localFile(_ key: ObjectKey) -> String? { base.localFile(key) }

  public func delete(_ key: ObjectKey) async throws {
    forget(key)
    try await base.delete(key)
    forget(key)
  }

  public func delete(_ keys: [ObjectKey]) async throws {
    keys.forEach(forget)
    try await base.delete(keys)
    keys.forEach(forget)
  }

  public func forget(_ key: ObjectKey) {
    directory.remove(CacheIdentity(key))
    base.forget(key)
  }

  public func distrust(_ key: ObjectKey) {
    // First: what is fetched from now on is of the other copy.
    base.distrust(key)
    directory.remove(CacheIdentity(key))
  }

  // MARK: Reading

  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    guard let range, !range.isEmpty else { return try await base.get(key, range: range) }
    let slice = try await self.slice(key, range)
    guard range.upperBound <= slice.objectSize else {
      throw CachedObjectStore.outOfRange(key, range, slice.objectSize)
    }
    return slice.bytes
  }

  public func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice {
    guard !range.isEmpty else { return try await base.slice(key, range) }
    var read = try await threads.run { [directory] in
      var read = CachedRead(key, range)
      read.lookUp(in: directory)
      return read
    }
    while let missing = read.nextMissing.map({ read.fetch($0, neighbourhoods) }) {
      let fetched = try await base.slice(key, missing)
      try read.take(fetched, of: missing, key: key)
      let stored = read
      try await threads.run { [directory] in
        stored.store(fetched, at: missing.lowerBound, in: directory)
      }
    }
    count(read)
    return read.slice
  }

  public func read(
    _ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    let range = offset..<offset + UInt64(buffer.count)
    guard !range.isEmpty else { return try base.read(key, at: offset, into: buffer) }
    var read = CachedRead(key, range)
    read.lookUp(in: directory)
    while let missing = read.nextMissing.map({ read.fetch($0, neighbourhoods) }) {
      let base = base
      let fetched = try waitFor { try await base.slice(key, missing) }
      try read.take(fetched, of: missing, key: key)
      read.store(fetched, at: missing.lowerBound, in: directory)
    }
    count(read)
    let slice = read.slice
    guard slice.bytes.count == buffer.count else {
      throw CachedObjectStore.outOfRange(key, range, slice.objectSize)
    }
    buffer.copyBytes(from: slice.bytes)
  }

  private func count(_ read: CachedRead) {
    counts.withLock {
      $0.hits += read.hits
      $0.misses += read.misses
    }
  }

  private static func outOfRange(
    _ key: ObjectKey, _ range: Range<UInt64>, _ size: UInt64
  ) -> ObjectStorageError {
    ObjectStorageError(
      .outOfRange, operation: "get object", key: key.name, detail: "range \(range) of \(size) bytes"
    )
  }
}
