import Foundation
import ObjectStorage
import Synchronization

/// A store in memory, without local files: as a bucket far away looks to its callers.
public final class MemoryObjectStore: ObjectStore {
  private let objects = Mutex<[String: [UInt8]]>([:])

  public init() {}

  public func put(_ key: ObjectKey, _ body: ObjectBody) async throws {
    let bytes: [UInt8]
    switch body {
    case .bytes(let given): bytes = given
    case .file(let path): bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }
    objects.withLock { $0[key.name] = bytes }
  }

  public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
    guard let bytes = objects.withLock({ $0[key.name] }) else {
      throw ObjectStorageError(.notFound, operation: "get object", key: key.name)
    }
    guard let range else { return bytes }
    guard range.upperBound <= UInt64(bytes.count) else {
      throw ObjectStorageError(.outOfRange, operation: "get object", key: key.name)
    }
    return Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)])
  }

  public func size(_ key: ObjectKey) async throws -> UInt64? {
    objects.withLock { $0[key.name] }.map { UInt64($0.count) }
  }

  public func list(
    prefix: String, after: ObjectKey?, limit: Int
  ) async throws -> [ObjectListing] {
    let found = objects.withLock { objects in
      objects.filter { $0.key.hasPrefix(prefix) }
        .map { ObjectListing(key: ObjectKey($0.key), size: UInt64($0.value.count)) }
    }
    return Array(
      found.filter { listing in after.map { $0 < listing.key } ?? true }
        .sorted { $0.key < $1.key }.prefix(limit))
  }

  public func delete(_ key: ObjectKey) async throws {
    objects.withLock { $0[key.name] = nil }
  }

  public func localFile(_ key: ObjectKey) -> String? { nil }

  /// All keys, in order.
  public var keys: [String] { objects.withLock { $0.keys.sorted() } }

  /// The bytes of an object, to be damaged by a test and put back.
  public subscript(key: String) -> [UInt8]? {
    get { objects.withLock { $0[key] } }
    set { objects.withLock { $0[key] = newValue } }
  }

  /// An independent copy.
  public func copy() -> MemoryObjectStore {
    let copy = MemoryObjectStore()
    let all = objects.withLock { $0 }
    copy.objects.withLock { $0 = all }
    return copy
  }
}
