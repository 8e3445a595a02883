import Crypto
import DurableIO

/// The keys of an encrypted store: read from it, opened with the master key, kept in memory.
///
/// ## State and invariants
/// 1. A data key is used only after it was put, read back and opened: what it seals can be opened
///    by whoever has the master key.
/// 2. Keys are never replaced by others, only wrapped again.
///
/// ## On disk
/// `exzo/names`, the key of names: where it is, the store is encrypted. `exzo/keys/<id>`, data keys:
/// 16 hexadecimal digits that tell the project to whoever has the key of names, then 8 random ones.
///
/// ## Concurrency
/// An actor. Two processes that need a project's first key at once may make one each: both stay,
/// and each object says which one it needs.
///
/// ## Not guarded here
/// Two installations that set up the same empty store in the same second.
actor KeyRing {
  static let namesKey = ObjectKey("exzo/names")
  static let dataPrefix = "exzo/keys/"

  private let base: any ObjectStore
  private let source: MasterKeySource
  private let project: String
  private let threads: BlockingThreads
  private var opened: OpaqueNames?
  private var namesBytes: [UInt8] = []
  private var keys: [[UInt8]: [UInt8]] = [:]
  private var writing: (id: [UInt8], bytes: [UInt8])?

  init(
    base: any ObjectStore, source: MasterKeySource, project: String, threads: BlockingThreads
  ) {
    self.base = base
    self.source = source
    self.project = project
    self.threads = threads
  }

  private func masters() async throws -> MasterKeys {
    try await threads.run { [source] in try source.load() }
  }

  /// Makes the key of names where the store holds nothing.
  func setUp() async throws {
    if try await base.size(KeyRing.namesKey) != nil {
      _ = try await names()
      return
    }
    guard try await base.list(prefix: "", after: nil, limit: 1).isEmpty else {
      throw ObjectStorageError(
        .misconfigured, operation: "set up encryption", key: KeyRing.namesKey.name,
        detail: "the store holds objects that are not encrypted",
        hint: "name an empty store or prefix, or leave encryption off for this one")
    }
    let master = try await masters().current
    let key = WrappedKey(
      purpose: .names, id: [UInt8](repeating: 0, count: WrappedKey.idSize), bytes: randomKey())
    try await base.put(
      KeyRing.namesKey, .bytes(key.wrapped(with: master, name: KeyRing.namesKey.name)))
    _ = try await names()
  }

  func names() async throws -> OpaqueNames {
    if let opened { return opened }
    let key: WrappedKey
    do {
      key = try await unwrapped(KeyRing.namesKey)
    } catch let error as ObjectStorageError where error.code == .notFound {
      throw ObjectStorageError(
        .misconfigured, operation: "open encrypted store", key: KeyRing.namesKey.name,
        detail: "the store is not encrypted, or this is not a store", cause: error,
        hint: "turn encryption off for this store, or correct its URL")
    }
    let names = OpaqueNames(key: key.bytes)
    (opened, namesBytes) = (names, key.bytes)
    return names
  }

  /// The data key that an object names.
  func key(_ id: [UInt8], for object: ObjectKey) async throws -> [UInt8] {
    if let known = keys[id] { return known }
    let name = ObjectKey(KeyRing.dataPrefix + hexadecimal(id))
    let key: WrappedKey
    do {
      key = try await unwrapped(name)
    } catch let error as ObjectStorageError where error.code == .notFound {
      throw ObjectStorageError(
        .unknownKey, operation: "open sealed object", key: object.name,
        detail: "its key '\(name)' is not in the store", cause: error,
        hint: "the project's key was deleted: what it sealed is lost")
    }
    keys[id] = key.bytes
    return key.bytes
  }

  /// Where one copy of a key is damaged, another may be whole.
  private func unwrapped(_ name: ObjectKey) async throws -> WrappedKey {
    let masters = try await masters()
    do {
      return try WrappedKey(
        try await base.get(name, range: nil), name: name.name, masters: masters)
    } catch let error as ObjectStorageError where error.code == .damaged {
      base.distrust(name)
      return try WrappedKey(
        try await base.get(name, range: nil), name: name.name, masters: masters)
    }
  }

  /// The key that this store's own objects are sealed with, made where the project has none.
  func writingKey() async throws -> (id: [UInt8], bytes: [UInt8]) {
    if let writing { return writing }
    _ = try await names()
    let tag = projectTag()
    let prefix = KeyRing.dataPrefix + hexadecimal(tag)
    if let found = try await base.list(prefix: prefix, after: nil, limit: 1).first,
      let id = identity(found.key)
    {
      let key = (id, try await key(id, for: found.key))
      writing = key
      return key
    }
    // Read now: a rotation may have taken place since the last look.
    let master = try await masters().current
    let id = tag + randomKey().prefix(WrappedKey.idSize - tag.count)
    let name = ObjectKey(KeyRing.dataPrefix + hexadecimal(id))
    let key = WrappedKey(purpose: .data, id: id, bytes: randomKey())
    try await base.put(name, .bytes(key.wrapped(with: master, name: name.name)))
    writing = (id, try await self.key(id, for: name))
    return (id, key.bytes)
  }

  /// Deletes a project's keys: nothing that they sealed can be opened again, by anyone.
  func destroyKeys(ofProject project: String) async throws {
    _ = try await names()
    let prefix = KeyRing.dataPrefix + hexadecimal(projectTag(project))
    try await base.delete(
      try await base.list(prefix: prefix, after: nil, limit: 1000).map(\.key))
    keys = [:]
    writing = nil
  }

  private func projectTag(_ other: String? = nil) -> [UInt8] {
    let text = "exzo project 1:\(other ?? project)"
    return Array(
      HMAC<SHA256>.authenticationCode(
        for: Array(text.utf8), using: SymmetricKey(data: namesBytes)
      ).prefix(8))
  }

  private func identity(_ key: ObjectKey) -> [UInt8]? {
    let digits = Array(key.name.dropFirst(KeyRing.dataPrefix.utf8.count))
    guard digits.count == 2 * WrappedKey.idSize else { return nil }
    let bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)
    }
    return bytes.count == WrappedKey.idSize ? bytes : nil
  }

  private func randomKey() -> [UInt8] {
    SymmetricKey(size: .bits256).withUnsafeBytes { Array($0) }
  }

  // MARK: Rotation

  /// Wraps every key of the store with the current master key; returns how many were not yet.
  static func rewrap(_ base: any ObjectStore, masters: MasterKeys) async throws -> Int {
    var names: [ObjectKey] = []
    try await base.listAll(prefix: dataPrefix) { names.append($0.key) }
    // Last: where it is wrapped with the current key, all others are (``ObjectMirror`` relies on it).
    names.append(namesKey)
    var count = 0
    for name in names {
      let stored = try await base.get(name, range: nil)
      if WrappedKey.masterID(stored) == masters.current.id { continue }
      let key = try WrappedKey(stored, name: name.name, masters: masters)
      try await base.put(name, .bytes(key.wrapped(with: masters.current, name: name.name)))
      let again = try WrappedKey(
        try await base.get(name, range: nil), name: name.name,
        masters: MasterKeys(current: masters.current))
      guard again == key else {
        throw ObjectStorageError(
          .damaged, operation: "wrap key again", key: name.name,
          detail: "another key came back than was put",
          hint: "keep the former master key, and start the rotation again")
      }
      count += 1
    }
    return count
  }
}
