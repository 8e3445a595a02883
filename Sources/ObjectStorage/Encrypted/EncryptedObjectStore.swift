import DurableIO
import Synchronization

/// Seals what is stored and hides what it is called: nothing in the store below is readable.
///
/// ## Purpose
/// A bucket is someone else's machine. Everything that leaves this one, history, catalog and dumps,
/// is sealed here with AES-256-GCM, whatever the store; only sizes, times and counts show.
///
/// ## State and invariants
/// 1. Nothing is handed out that did not open: a changed, moved, cut or exchanged object is
///    `.damaged`.
/// 2. A range costs its frames (8 KiB each), and a look at the header the first time.
/// 3. An object is sealed under its project's key; objects of any project are read.
///
/// ## On disk
/// docs/formats/sealed-object.md.
///
/// ## Crash
/// As the store below. A large put's sealed copy in the scratch directory is removed when the next
/// store opens there.
///
/// ## Concurrency
/// Safe from any task.
///
/// ## Not guarded here
/// Putting an older version of an object back in its place, or deleting it. A lost master key: then
/// everything is lost.
public final class EncryptedObjectStore: ObjectStore {
  let base: any ObjectStore
  let ring: KeyRing
  let threads: BlockingThreads
  let scratch: IncomingDirectory
  let fileSystem: any FileSystem
  private let opened = Mutex<[ObjectKey: Opened]>([:])
  /// What listings that could not be asked for page by page have still to give.
  let walks = Mutex<[String: [ObjectListing]]>([:])
  private static let openedLimit = 4096

  /// An object whose header has been read.
  struct Opened: Sendable {
    let sealer: FrameSealer
    let stored: ObjectKey
  }

  /// - Parameter project: whose key seals what is put; empty for what belongs to none.
  /// - Parameter scratch: a local directory for the sealed copies of large files.
  public init(
    _ base: any ObjectStore, masterKey: MasterKeySource, project: String = "", scratch: String,
    fileSystem: any FileSystem, threads: BlockingThreads = BlockingThreads(count: 2)
  ) throws {
    self.base = base
    self.threads = threads
    self.fileSystem = fileSystem
    self.scratch = try IncomingDirectory(scratch, fileSystem: fileSystem)
    ring = KeyRing(base: base, source: masterKey, project: project, threads: threads)
  }

  /// Whether a store is encrypted.
  public static func isEncrypted(_ base: any ObjectStore) async throws -> Bool {
    try await base.size(KeyRing.namesKey) != nil
  }

  /// Makes the store's keys where it is empty; else checks that the master key opens them.
  public func setUp() async throws { try await ring.setUp() }

  /// Deletes a project's keys: nothing that they sealed can be opened again, by anyone.
  public func destroyKeys(ofProject project: String) async throws {
    try await ring.destroyKeys(ofProject: project)
    opened.withLock { $0 = [:] }
  }

  /// Wraps the store's keys with the current master key; no other object is rewritten.
  ///
  /// Until it returns, and where it throws, former and current key are both needed.
  /// - Returns: how many keys were wrapped with another one before.
  public static func rewrapKeys(of base: any ObjectStore, masters: MasterKeys) async throws -> Int {
    try await KeyRing.rewrap(base, masters: masters)
  }

  /// Tells the plain name of an object of the store below; `nil` for the keys and for foreign
  /// objects.
  public func nameReader() async throws -> @Sendable (ObjectKey) -> String? {
    let names = try await ring.names()
    return { names.decode($0.name) }
  }

  func stored(_ key: ObjectKey) async throws -> ObjectKey {
    let name = try await ring.names().encode(key.name)
    guard ObjectKey.isValid(name) else {
      throw ObjectStorageError(
        .misconfigured, operation: "hide name", key: key.name,
        detail: "\(name.utf8.count) bytes are too long a name")
    }
    return ObjectKey(name)
  }

  /// Runs a call on the store below; errors tell of the plain name.
  func naming<Value>(
    _ name: String, _ body: () async throws -> Value
  ) async throws -> Value {
    do {
      return try await body()
    } catch var error as ObjectStorageError {
      if error.key != name, error.code != .unknownKey { error.key = name }
      throw error
    }
  }

  // MARK: Put and delete

  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    let stored = try await stored(key)
    let seal = NewSeal(key: key, projectKey: try await ring.writingKey())
    close(key)
    try await naming(key.name) {
      switch body {
      case .bytes(let plain):
        try await base.put(stored, .bytes(try await threads.run { try seal.sealed(plain) }))
      case .file(let path):
        let sealed = try await threads.run { [self] in try self.seal(file: path, seal) }
        do {
          try await base.put(stored, .file(path: sealed))
        } catch {
          // The first error is the one to report; a leftover is removed at the next opening.
          try? await removeScratch(sealed)
          throw error
        }
        try await removeScratch(sealed)
      }
    }
    close(key)
  }

  private func removeScratch(_ path: String) async throws {
    try await threads.run { [fileSystem] in
      try fileSystem.unlink(path, operation: "put object")
    }
  }

  /// What one new object is sealed with.
  private struct NewSeal: Sendable {
    let key: ObjectKey
    let projectKey: (id: [UInt8], bytes: [UInt8])
    let salt = (0..<4).flatMap { _ in
      withUnsafeBytes(of: UInt64.random(in: 0 ... .max)) { Array($0) }
    }

    func sealer(size: UInt64) -> FrameSealer {
      FrameSealer(
        SealedHeader(keyID: projectKey.id, salt: salt, plainSize: size),
        projectKey: projectKey.bytes, name: key)
    }

    func sealed(_ plain: [UInt8]) throws -> [UInt8] {
      let sealer = sealer(size: UInt64(plain.count))
      var out = sealer.header.encoded
      out.reserveCapacity(Int(SealedObject.sealedSize(UInt64(plain.count))))
      try plain.withUnsafeBytes { try sealer.seal($0, firstFrame: 0, into: &out) }
      return out
    }
  }

  /// Writes a file's sealed copy and returns its path.
  private func seal(file path: String, _ seal: NewSeal) throws -> String {
    let target = scratch.nextPath()
    do {
      let source = try fileSystem.open(path, .read, operation: "seal object")
      defer { source.close() }
      let sealer = seal.sealer(size: try source.size(operation: "seal object"))
      let file = try fileSystem.open(target, .createNew, operation: "seal object")
      defer { file.close() }
      try copy(source, to: file, sealer)
      return target
    } catch {
      // The first error is the one to report; a leftover is removed at the next opening.
      try? fileSystem.unlink(target, operation: "seal object")
      throw ObjectStorageError(
        (error as? FileError)?.isDiskFull == true ? .noSpace : .unavailable,
        operation: "seal object", key: seal.key.name, cause: error)
    }
  }

  private func copy(
    _ source: any OpenFile, to file: any OpenFile, _ sealer: FrameSealer
  ) throws {
    let size = sealer.header.plainSize
    let piece = 64 * SealedObject.frameSize
    var buffer = [UInt8](repeating: 0, count: Int(piece))
    var out = sealer.header.encoded
    var (offset, written): (UInt64, UInt64) = (0, 0)
    repeat {
      let count = Int(min(piece, size - offset))
      try buffer.withUnsafeMutableBytes { raw in
        let part = UnsafeMutableRawBufferPointer(rebasing: raw[..<count])
        guard try source.read(into: part, at: offset, operation: "seal object") == count else {
          throw FileError(operation: "seal object", path: source.path, code: 5)
        }
        try sealer.seal(
          UnsafeRawBufferPointer(part), firstFrame: offset / SealedObject.frameSize, into: &out)
      }
      try out.withUnsafeBytes { try file.write($0, at: written, operation: "seal object") }
      written += UInt64(out.count)
      offset += UInt64(count)
      out.removeAll(keepingCapacity: true)
    } while offset < size
  }

  public func delete(_ key: ObjectKey) async throws {
    let stored = try await stored(key)
    try await naming(key.name) { try await base.delete(stored) }
    opened.withLock { $0[key] = nil }
  }

  public func delete(_ keys: [ObjectKey]) async throws {
    guard let first = keys.first else { return }
    var stored: [ObjectKey] = []
    for key in keys { stored.append(try await self.stored(key)) }
    try await naming(first.name) { try await base.delete(stored) }
    opened.withLock { for key in keys { $0[key] = nil } }
  }

  // MARK: What is open

  func opened(_ key: ObjectKey) -> Opened? { opened.withLock { $0[key] } }

  func open(
    _ header: ArraySlice<UInt8>, of key: ObjectKey, stored: ObjectKey
  ) async throws -> FrameSealer {
    let header = try SealedHeader(header, key: key)
    let projectKey = try await ring.key(header.keyID, for: key)
    let sealer = FrameSealer(header, projectKey: projectKey, name: key)
    opened.withLock {
      if $0.count >= EncryptedObjectStore.openedLimit { $0.removeAll() }
      $0[key] = Opened(sealer: sealer, stored: stored)
    }
    return sealer
  }

  func close(_ key: ObjectKey) { opened.withLock { $0[key] = nil } }
}
