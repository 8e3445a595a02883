import DurableIO
import Foundation

/// How objects come from the first store to the second.
extension ObjectMirror {
  /// What became of objects that were to be copied.
  struct Copies {
    var copied: Set<ObjectKey> = []
    /// Deleted from the first store since they were listed, as merged chunks are all the time.
    var vanished: Set<ObjectKey> = []
    /// Those that the first store holds and cannot give.
    var unreadable: Set<ObjectKey> = []
    var failure: (any Error)?
    /// Of something else than one object: nothing further is tried.
    var isCutOff = false

    mutating func note(_ error: any Error, isGone: Bool, of key: ObjectKey) {
      if isGone {
        vanished.insert(key)
        return
      }
      failure = failure ?? error
      if error is FirstStoreDamage { unreadable.insert(key) } else { isCutOff = true }
    }
  }

  /// What became of all that the copy lacked.
  struct Rest {
    /// What it lacks still, in order.
    var left: [ObjectKey]
    /// Gone from the first store when its turn came.
    var vanished: Set<ObjectKey> = []
    /// Of those left, what the first store cannot give.
    var unreadable: Set<ObjectKey> = []
  }

  /// An object of the first store that does not come, though the store answers.
  private struct FirstStoreDamage: Error, CustomStringConvertible {
    let error: ObjectStorageError
    var description: String { error.description }
  }

  func copy(
    _ objects: [ObjectListing], _ status: inout Status
  ) async throws -> Copies {
    var found = Copies()
    try await withThrowingTaskGroup(of: (ObjectListing, (any Error)?, isGone: Bool).self) { group in
      var next = 0
      func addNext() {
        guard next < objects.count, !found.isCutOff else { return }
        let object = objects[next]
        next += 1
        group.addTask { try await self.outcome(of: object) }
      }
      for _ in 0..<configuration.width { addNext() }
      while let (object, error, isGone) = try await group.next() {
        if let error {
          found.note(error, isGone: isGone, of: object.key)
        } else {
          found.copied.insert(object.key)
          status.copiedObjects += 1
          status.copiedBytes += object.size
        }
        addNext()
      }
    }
    try Task.checkCancellation()
    if let failure = found.failure { status.failure = "\(failure)" }
    return found
  }

  private func outcome(
    of object: ObjectListing
  ) async throws -> (ObjectListing, (any Error)?, isGone: Bool) {
    do {
      try await copy(object)
      return (object, nil, isGone: false)
    } catch let error as ObjectStorageError where error.code == .notFound {
      return (object, error, isGone: try await first.size(object.key) == nil)
    } catch { return (object, error, isGone: false) }
  }

  /// Copies one object and compares what arrived with what was read.
  private func copy(_ object: ObjectListing) async throws {
    if object.size <= configuration.largestInMemory {
      let bytes = try await fromFirst { try await first.get(object.key, range: nil) }
      try check(object, size: UInt64(bytes.count))
      try await second.put(object.key, .bytes(bytes))
      return try await verify(object, crc: crc32c(bytes))
    }
    let path = scratch.nextPath()
    do {
      let crc = try await download(object, to: path)
      try await second.put(object.key, .file(path: path))
      try await removeScratch(path)
      try await verify(object, crc: crc)
    } catch {
      // The first error is the one to report; a leftover is removed at the next start.
      try? await removeScratch(path)
      throw error
    }
  }

  private func fromFirst(_ read: () async throws -> [UInt8]) async throws -> [UInt8] {
    do { return try await read() } catch let error as ObjectStorageError
      where error.code == .damaged || error.code == .outOfRange
    {
      throw FirstStoreDamage(error: error)
    }
  }

  private func removeScratch(_ path: String) async throws {
    try await threads.run { [fileSystem] in
      guard try fileSystem.status(path, operation: "mirror object") != nil else { return }
      try fileSystem.unlink(path, operation: "mirror object")
    }
  }

  private func download(_ object: ObjectListing, to path: String) async throws -> UInt32 {
    let file = try await threads.run { [fileSystem] in
      try fileSystem.open(path, .createNew, operation: "mirror object")
    }
    defer { file.close() }
    var crc: UInt32 = 0
    var offset: UInt64 = 0
    while offset < object.size {
      let start = offset
      let end = min(object.size, start + (8 << 20))
      let bytes = try await fromFirst { try await first.get(object.key, range: start..<end) }
      crc = crc32c(bytes, from: crc)
      try await threads.run {
        try bytes.withUnsafeBytes { try file.write($0, at: start, operation: "mirror object") }
      }
      offset = end
    }
    return crc
  }

  private func check(_ object: ObjectListing, size: UInt64) throws {
    guard size == object.size else {
      throw ObjectStorageError(
        .damaged, operation: "mirror object", key: object.key.name,
        detail: "\(size) bytes, listed as \(object.size)")
    }
  }

  /// Reads the copy back, all of it.
  private func verify(_ object: ObjectListing, crc expected: UInt32) async throws {
    var crc: UInt32 = 0
    var offset: UInt64 = 0
    while offset < object.size {
      let end = min(object.size, offset + (8 << 20))
      let found = try await second.slice(object.key, offset..<end)
      try check(object, size: found.objectSize)
      crc = crc32c(found.bytes, from: crc)
      offset = end
    }
    guard crc == expected else {
      throw ObjectStorageError(
        .damaged, operation: "mirror object", key: object.key.name,
        detail: "checksum \(crc) in the second store, \(expected) in the first")
    }
  }
}
