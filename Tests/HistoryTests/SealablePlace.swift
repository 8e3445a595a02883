import DurableIO
import Foundation
import ObjectStorage
import TestSupport

@testable import History

/// A store in memory, plain or sealed, whose objects a test damages as they lie there.
struct SealablePlace {
  let base = MemoryObjectStore()
  private let masterKey: MasterKeySource?
  private let scratch: String
  /// Not those that wait for reads.
  private static let threads = BlockingThreads(count: 2)

  init(_ directory: String, isSealed: Bool) throws {
    scratch = "\(directory)/sealing"
    guard isSealed else {
      masterKey = nil
      return
    }
    let file = "\(directory)/master-key"
    try MasterKeys(current: .random()).text.write(toFile: file, atomically: true, encoding: .utf8)
    masterKey = .file(file)
  }

  /// The store as whoever opens it now finds it: nothing of it is known yet.
  func open() async throws -> any ObjectStore {
    guard let masterKey else { return base }
    let store = try EncryptedObjectStore(
      base, masterKey: masterKey, scratch: scratch, fileSystem: SystemFileSystem(),
      threads: Self.threads)
    try await store.setUp()
    return store
  }

  /// Objects of lines in the order of their keys below, with the names that they have in ``open()``'s store.
  func objects() async throws -> [(stored: String, name: String)] {
    let name = try await (try await open() as? EncryptedObjectStore)?.nameReader()
    var found: [(stored: String, name: String)] = []
    for key in base.keys {
      var plain: String? = key
      if let name { plain = name(ObjectKey(key)) }
      if let plain, plain.hasPrefix("lines/") { found.append((stored: key, name: plain)) }
    }
    return found
  }

  /// What lies below as an object, to be damaged.
  func stored(_ key: ObjectKey) async throws -> String? {
    try await objects().first { $0.name == key.name }?.stored
  }
}
