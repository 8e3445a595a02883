/// A place for immutable objects: a local directory or an S3-compatible bucket.
///
/// Needs only what every store has: no rename, no append, no conditional write. Cache, mirror,
/// throttle and encryption are decorators of this protocol. Methods suspend; they never block the
/// cooperative pool.
public protocol ObjectStore: Sendable {
  /// Stores an object, replacing one of the same key.
  ///
  /// On return it is durable and visible whole; on throw it is absent, whole, or as it was before,
  /// never visible in part.
  func put(_ key: ObjectKey, _ body: ObjectBody) async throws
  /// Reads a range, or the whole object. Throws `.notFound` where it is absent and `.outOfRange`
  /// where the range does not lie within it.
  func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8]
  /// Size in bytes, or `nil` where there is no such object.
  func size(_ key: ObjectKey) async throws -> UInt64?
  /// Objects whose key starts with `prefix` and sorts after `after`, in byte order of their keys.
  func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> [ObjectListing]
  /// Deletes an object; no error where it is absent.
  func delete(_ key: ObjectKey) async throws
  /// Deletes objects, in as few requests as the store allows. On throw some of them may be gone.
  func delete(_ keys: [ObjectKey]) async throws
  /// As much of a range as the object has, with the object's size. Throws `.notFound`.
  func slice(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> ObjectSlice
  /// Fills `buffer` from `offset` on the caller's thread, which it blocks and which must not belong
  /// to the cooperative pool. Errors as of ``get(_:range:)``.
  func read(_ key: ObjectKey, at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws
  /// The next part of every key that starts with `prefix` and goes on below it: names of
  /// directories, in byte order. `prefix` is empty or ends with `/`.
  func directories(in prefix: String) async throws -> [String]
  /// Lets go of copies that the store keeps nearer, because they do not fit the object any more.
  func forget(_ key: ObjectKey)
  /// What was read of an object is damaged: lets go of copies kept nearer, and reads from another copy of it from
  /// now on where there is one.
  func distrust(_ key: ObjectKey)
  /// The path of a local file that holds the object byte for byte, where there is one: the fast
  /// path for reading ranges without suspension. The file may vanish when the object is deleted.
  func localFile(_ key: ObjectKey) -> String?
}

/// A key: `/`-separated parts of `[A-Za-z0-9._-]`, at most 512 bytes, no part empty, `.` or `..`.
public struct ObjectKey: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let name: String

  /// Traps on a malformed key: keys are made by Exzo, never by users.
  public init(_ name: String) {
    precondition(ObjectKey.isValid(name), "malformed object key '\(name)'")
    self.name = name
  }

  public var description: String { name }
  public static func < (a: ObjectKey, b: ObjectKey) -> Bool {
    a.name.utf8.lexicographicallyPrecedes(b.name.utf8)
  }

  public static func isValid(_ name: String) -> Bool {
    guard (1...512).contains(name.utf8.count) else { return false }
    return name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { part in
      !part.isEmpty && part != "." && part != ".."
        && part.utf8.allSatisfy { byte in
          switch byte {
          case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
            UInt8(ascii: "-"):
            true
          default: false
          }
        }
    }
  }
}

/// What is stored: bytes in memory, or a local file that must not change meanwhile.
public enum ObjectBody: Sendable {
  case bytes([UInt8])
  case file(path: String)
}

public struct ObjectListing: Sendable, Equatable {
  public var key: ObjectKey
  public var size: UInt64
  public init(key: ObjectKey, size: UInt64) {
    self.key = key
    self.size = size
  }
}

/// A part of an object.
public struct ObjectSlice: Sendable, Equatable {
  /// What lies in the range asked for: fewer bytes where the object ends within it.
  public var bytes: [UInt8]
  /// Of the whole object.
  public var objectSize: UInt64
  public init(bytes: [UInt8], objectSize: UInt64) {
    self.bytes = bytes
    self.objectSize = objectSize
  }
}
