import DurableIO
import ObjectStorage
import Synchronization

/// An object read range by range on the caller's thread, which it may block.
///
/// Must not be used on the cooperative pool.
protocol ObjectBytes: AnyObject, Sendable {
  var key: ObjectKey { get }
  var size: UInt64 { get }
  /// Whether a read costs no request: then nothing is fetched ahead.
  var isNear: Bool { get }
  /// Fills `buffer` from `offset`; throws where the object is shorter.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws
}

/// An object that is a local file.
final class LocalObjectBytes: ObjectBytes {
  let key: ObjectKey
  let size: UInt64
  var isNear: Bool { true }
  private let file: any OpenFile

  init(key: ObjectKey, path: String, fileSystem: any FileSystem) throws {
    self.key = key
    do {
      file = try fileSystem.open(path, .read, operation: "open object")
      size = try file.size(operation: "open object")
    } catch {
      throw LocalObjectBytes.translated(error, key)
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    let count: Int
    do {
      count = try file.read(into: buffer, at: offset, operation: "read object")
    } catch {
      throw LocalObjectBytes.translated(error, key)
    }
    guard count == buffer.count else {
      throw HistoryError(
        .damaged, operation: "read", key: key.name,
        detail: "\(count) of \(buffer.count) bytes at \(offset): the object is cut short")
    }
  }

  private static func translated(_ error: any Error, _ key: ObjectKey) -> HistoryError {
    let missing = (error as? FileError)?.isNotFound == true
    return HistoryError(
      missing ? .missing : .localFile, operation: "read", key: key.name, cause: error)
  }
}

/// An object in a store without local files; each read waits for the store.
final class RemoteObjectBytes: ObjectBytes {
  let key: ObjectKey
  let size: UInt64
  var isNear: Bool { false }
  private let store: any ObjectStore

  init(key: ObjectKey, size: UInt64, store: any ObjectStore) {
    self.key = key
    self.size = size
    self.store = store
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    do {
      try store.read(key, at: offset, into: buffer)
    } catch let error as ObjectStorageError where error.code == .outOfRange {
      throw HistoryError(
        .damaged, operation: "read", key: key.name, detail: "the object is cut short",
        cause: error)
    } catch {
      throw HistoryError.from(error, operation: "read", key: key.name)
    }
  }
}

/// An object whose end is in memory.
final class TailedObjectBytes: ObjectBytes {
  private let base: any ObjectBytes
  private let tail: MemoryObjectBytes
  private let tailOffset: UInt64
  var key: ObjectKey { base.key }
  var size: UInt64 { base.size }
  var isNear: Bool { false }

  /// Reads the last `size` bytes, or all where there are fewer. Blocks the thread.
  init(_ base: any ObjectBytes, size: UInt64) throws {
    self.base = base
    let count = Int(min(size, base.size))
    let offset = base.size - UInt64(count)
    tailOffset = offset
    let bytes = try [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      try base.read(
        into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count), at: offset)
      initialized = count
    }
    tail = MemoryObjectBytes(key: base.key, bytes: bytes)
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    if offset >= tailOffset {
      try tail.read(into: buffer, at: offset - tailOffset)
    } else {
      try base.read(into: buffer, at: offset)
    }
  }
}

/// An object already in memory.
final class MemoryObjectBytes: ObjectBytes {
  let key: ObjectKey
  private let bytes: [UInt8]
  var size: UInt64 { UInt64(bytes.count) }
  var isNear: Bool { true }

  init(key: ObjectKey, bytes: [UInt8]) {
    self.key = key
    self.bytes = bytes
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
    guard offset <= size, UInt64(buffer.count) <= size - offset else {
      throw HistoryError(
        .damaged, operation: "read", key: key.name,
        detail: "\(buffer.count) bytes at \(offset) of \(size): the object is cut short")
    }
    if buffer.count == 0 { return }
    bytes.withUnsafeBytes {
      buffer.copyMemory(
        from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + buffer.count]))
    }
  }
}

/// Opens an object for reading on this thread: its local file where the store has one.
func openObject(
  _ key: ObjectKey, size: UInt64, store: any ObjectStore, fileSystem: any FileSystem
) throws -> any ObjectBytes {
  guard let path = store.localFile(key) else {
    return RemoteObjectBytes(key: key, size: size, store: store)
  }
  return try LocalObjectBytes(key: key, path: path, fileSystem: fileSystem)
}
