import DurableIO
import Glibc
import Synchronization

/// A file system in memory for fault tests: it fails a chosen call, or loses power at a chosen
/// sync.
///
/// What a crash keeps, from a seed: of each file what was synced, and of each unsynced write every
/// 512-byte or 4 KiB
/// piece by chance (so writes are kept, dropped, torn, and effectively reordered); of each
/// directory what was synced and
/// a prefix of the later creations, renames and removals. A synced file whose name was not synced
/// may be gone.
public final class SimulatedFileSystem: FileSystem {
  private let disk: Mutex<SimulatedDisk>

  public init() { disk = Mutex(SimulatedDisk()) }
  private init(_ survivor: sending SimulatedDisk) { disk = Mutex(survivor) }

  /// Calls so far that a fault could have hit.
  public var callCount: Int { disk.withLock { $0.calls } }
  /// Syncs of files and directories so far.
  public var syncCount: Int { disk.withLock { $0.syncs } }

  /// Makes call number `call` (1 is the next) throw `code`; a write then leaves a part behind.
  /// `sticky` goes on failing.
  public func failCall(_ call: Int, code: Int32 = EIO, sticky: Bool = false) {
    disk.withLock {
      $0.failAt = $0.calls + call
      $0.failCode = code
      $0.isSticky = sticky
    }
  }

  /// Takes the fault back.
  public func stopFailing() { disk.withLock { $0.failAt = nil } }

  /// Cuts the power when sync number `sync` (1 is the next) begins: it and every later call throw.
  public func losePower(atSync sync: Int) {
    disk.withLock { $0.powerLossAt = $0.syncs + sync }
  }

  public var hasLostPower: Bool { disk.withLock { $0.isDead } }

  /// What a machine finds after the power came back; this file system itself is dead from here on.
  public func restarted(seed: UInt64) -> SimulatedFileSystem {
    let survivor = disk.withLock { disk in
      disk.isDead = true
      var random = SeededRandom(seed: seed)
      return disk.survivor(&random)
    }
    return SimulatedFileSystem(SimulatedDisk(nodes: survivor))
  }

  /// Changes one byte of a file, durably: bit rot.
  public func flipByte(_ path: String, at offset: Int) {
    disk.withLock { $0.flip(path, offset) }
  }

  fileprivate func call<Result: Sendable>(
    _ operation: StaticString, _ path: String,
    _ body: (inout SimulatedDisk) throws(SimulatedFailure) -> Result
  ) throws -> Result {
    try disk.withLock { disk -> Swift.Result<Result, FileError> in
      do throws(SimulatedFailure) {
        try disk.countCall()
        return .success(try body(&disk))
      } catch {
        return .failure(FileError(operation: "\(operation)", path: path, code: error.code))
      }
    }.get()
  }

  // MARK: FileSystem

  public func open(
    _ path: String, _ mode: OpenMode, operation: StaticString
  ) throws -> any OpenFile {
    let node = try call(operation, path) { disk throws(SimulatedFailure) in
      try disk.open(path, mode)
    }
    return SimulatedFile(path: path, node: node, owner: self)
  }
  public func rename(_ from: String, to: String, operation: StaticString) throws {
    try call(operation, from) { disk throws(SimulatedFailure) in
      let id = try disk.lookup(from)
      disk.change(to, .some(id))
      disk.change(from, nil)
    }
  }
  public func link(_ from: String, to: String, operation: StaticString) throws {
    try call(operation, to) { disk throws(SimulatedFailure) in
      if disk.find(to) != nil { throw SimulatedFailure(code: EEXIST) }
      disk.change(to, .some(try disk.lookup(from)))
    }
  }
  public func unlink(_ path: String, operation: StaticString) throws {
    try call(operation, path) { disk throws(SimulatedFailure) in
      _ = try disk.lookup(path)
      disk.change(path, nil)
    }
  }
  public func makeDirectory(_ path: String, operation: StaticString) throws {
    try call(operation, path) { disk throws(SimulatedFailure) in try disk.makeDirectory(path) }
  }
  public func removeDirectory(_ path: String, operation: StaticString) throws {
    try unlink(path, operation: operation)
  }
  public func list(_ path: String, operation: StaticString) throws -> [String] {
    try call(operation, path) { disk throws(SimulatedFailure) in
      disk.nodes[try disk.lookup(path)].names.keys.sorted()
    }
  }
  public func status(_ path: String, operation: StaticString) throws -> FileStatus? {
    try call(operation, path) { disk throws(SimulatedFailure) in
      guard let id = disk.find(path) else { return nil }
      let size = UInt64(disk.nodes[id].bytes.count)
      return FileStatus(
        size: size, isDirectory: disk.nodes[id].isDirectory, allocatedBytes: size)
    }
  }
  public func syncDirectory(_ path: String, operation: StaticString) throws {
    try call(operation, path) { disk throws(SimulatedFailure) in
      try disk.countSync()
      disk.nodes[try disk.lookup(path)].makeDurable()
    }
  }
  public func freeBytes(_ path: String, operation: StaticString) throws -> UInt64 { 1 << 40 }
}

private final class SimulatedFile: OpenFile {
  let path: String
  let node: Int
  let owner: SimulatedFileSystem

  init(path: String, node: Int, owner: SimulatedFileSystem) {
    self.path = path
    self.node = node
    self.owner = owner
  }

  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64, operation: StaticString
  ) throws -> Int {
    let slice = try owner.call(operation, path) {
      disk throws(SimulatedFailure) -> ArraySlice<UInt8> in
      let bytes = disk.nodes[node].bytes
      let start = min(bytes.count, Int(offset))
      return bytes[start..<min(bytes.count, start + buffer.count)]
    }
    slice.withUnsafeBytes { buffer.copyMemory(from: $0) }
    return slice.count
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, operation: StaticString) throws {
    let data = Array(bytes)
    try owner.call(operation, path) { disk throws(SimulatedFailure) in
      disk.nodes[node].apply(.write(Int(offset), data))
    }
  }

  func write(
    _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at offset: UInt64,
    operation: StaticString
  ) throws {
    try (Array(head) + Array(body)).withUnsafeBytes {
      try write($0, at: offset, operation: operation)
    }
  }

  func sync(operation: StaticString) throws {
    try owner.call(operation, path) { disk throws(SimulatedFailure) in
      try disk.countSync()
      disk.nodes[node].makeDurable()
    }
  }

  func truncate(to size: UInt64, operation: StaticString) throws {
    try owner.call(operation, path) { disk throws(SimulatedFailure) in
      disk.nodes[node].apply(.truncate(Int(size)))
    }
  }

  func allocate(_ range: Range<UInt64>, operation: StaticString) throws {
    try owner.call(operation, path) { disk throws(SimulatedFailure) in
      if disk.nodes[node].bytes.count < Int(range.upperBound) {
        disk.nodes[node].apply(.truncate(Int(range.upperBound)))
      }
    }
  }

  func punchHole(_ range: Range<UInt64>, operation: StaticString) throws {
    try owner.call(operation, path) { disk throws(SimulatedFailure) in
      let end = min(disk.nodes[node].bytes.count, Int(range.upperBound))
      guard Int(range.lowerBound) < end else { return }
      let zeros = [UInt8](repeating: 0, count: end - Int(range.lowerBound))
      disk.nodes[node].apply(.write(Int(range.lowerBound), zeros))
    }
  }

  func isCached(operation: StaticString) throws -> Bool {
    try owner.call(operation, path) { _ throws(SimulatedFailure) in true }
  }
  func size(operation: StaticString) throws -> UInt64 {
    try owner.call(operation, path) { disk throws(SimulatedFailure) in
      UInt64(disk.nodes[node].bytes.count)
    }
  }

  func close() {}
}
