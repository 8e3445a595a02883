import DurableIO
import Foundation
import TestSupport
import Testing

@testable import ObjectStorage

@Suite struct EncryptedObjectStoreTests {
  /// An encrypted store over `base`, with a master key in `directory`.
  private func encrypted(
    _ base: any ObjectStore, _ directory: String, project: String = "p-one"
  ) async throws -> EncryptedObjectStore {
    let file = "\(directory)/master-key"
    if !FileManager.default.fileExists(atPath: file) {
      try MasterKeys(current: .random()).text
        .write(toFile: file, atomically: true, encoding: .utf8)
    }
    let store = try EncryptedObjectStore(
      base, masterKey: .file(file), project: project, scratch: "\(directory)/sealing",
      fileSystem: SystemFileSystem())
    try await store.setUp()
    return store
  }

  private func text(_ size: Int) -> [UInt8] {
    Array(
      String(repeating: "a row that everyone could read; ", count: size / 32 + 1).utf8.prefix(size))
  }

  @Test func keepsTheContract() async throws {
    try await withTemporaryDirectory { directory in
      let store = try await encrypted(MemoryObjectStore(), directory)
      try await ObjectStoreContract(store: store, directory: directory).runAll()
      let local = try LocalObjectStore(
        root: "\(directory)/local", fileSystem: SystemFileSystem())
      let second = try await encrypted(local, directory)
      try await ObjectStoreContract(store: second, directory: directory).runAll()
      let cache = try CachedObjectStore(
        MemoryObjectStore(), directory: "\(directory)/cache", limit: 1 << 30)
      let third = try await encrypted(cache, directory)
      try await ObjectStoreContract(store: third, directory: directory).runAll()
    }
  }

  @Test(.needsObjectServer) func keepsTheContractInABucket() async throws {
    try await withObjectServer { server, directory in
      let store = try await encrypted(
        try s3Store(server.url(), server, policy: S3RetryPolicy()), directory)
      try await ObjectStoreContract(store: store, directory: directory).runAll()
    }
  }

  /// Damage is only seen when an object is opened: whatever it is, its copy in the mirror is read instead.
  @Test func whatIsDamagedIsReadFromTheMirror() async throws {
    try await withTemporaryDirectory { directory in
      let memory = MemoryObjectStore()
      let first = try await encrypted(memory, directory)
      let key = ObjectKey("lines/ln-a/object")
      let body = text(300_000)
      try await first.put(key, .bytes(body))
      let mirror = MemoryObjectStore()
      for name in memory.keys { mirror[name] = memory[name] }
      for name in memory.keys {
        let whole = try #require(memory[name])
        for place in [0, 30, whole.count / 2, whole.count - 1] {
          var damaged = whole
          damaged[min(place, whole.count - 1)] ^= 1
          memory[name] = damaged
          // Each way of reading meets it first, with what is damaged kept nearer already and not.
          for (way, isCached) in (0..<3).flatMap({ way in [(way, false), (way, true)] }) {
            let cache = "\(directory)/cache-\(UUID())"
            if isCached {
              let before = try CachedObjectStore(memory, directory: cache, limit: 1 << 30)
              _ = try await before.slice(ObjectKey(name), 0..<UInt64(whole.count))
            }
            let store = try await encrypted(
              try CachedObjectStore(
                MirroredObjectStore(memory, second: mirror), directory: cache, limit: 1 << 30),
              directory)
            let found = try await read(key, way, store)
            let expected = way == 0 ? body : Array(body[150_000..<150_100])
            #expect(found == expected, "\(name) at \(place), way \(way), cached \(isCached)")
          }
        }
        memory[name] = whole
      }
      // Damaged in both, it is an error that names it.
      for name in memory.keys where name.contains("lines") || !name.hasPrefix("exzo") {
        for store in [memory, mirror] {
          var bytes = try #require(store[name])
          bytes[bytes.count / 2] ^= 1
          store[name] = bytes
        }
      }
      let store = try await encrypted(MirroredObjectStore(memory, second: mirror), directory)
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await store.get(key, range: nil)
      }
      #expect(error?.code == .damaged && error?.key == key.name)
    }
  }

  private func read(
    _ key: ObjectKey, _ way: Int, _ store: EncryptedObjectStore
  ) async throws -> [UInt8] {
    switch way {
    case 0: return try await store.get(key, range: nil)
    case 1: return try await store.slice(key, 150_000..<150_100).bytes
    default:
      return try await onThread {
        var buffer = [UInt8](repeating: 0, count: 100)
        try buffer.withUnsafeMutableBytes { try store.read(key, at: 150_000, into: $0) }
        return buffer
      }
    }
  }

  @Test func nothingInTheStoreIsReadable() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let store = try await encrypted(base, directory)
      let path = "\(directory)/file"
      try Data(text(3_000_000)).write(to: URL(fileURLWithPath: path))
      try await store.put(ObjectKey("lines/ln-secretsecret/line"), .bytes(text(500)))
      try await store.put(ObjectKey("dumps/customers/toc.dat"), .file(path: path))
      for name in base.keys {
        for word in ["lines", "secret", "dumps", "customers", "toc"] {
          #expect(!name.contains(word), "\(name)")
        }
        let bytes = try #require(base[name])
        #expect(Data(bytes).range(of: Data("everyone".utf8)) == nil)
        #expect(Data(bytes).range(of: Data("p-one".utf8)) == nil)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory)/sealing").isEmpty)
      #expect(
        try await store.get(ObjectKey("dumps/customers/toc.dat"), range: nil) == text(3_000_000))
    }
  }

  @Test func everyFlippedByteAndCutIsFound() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let store = try await encrypted(base, directory)
      let key = ObjectKey("lines/ln-a/wal/00000001-000000000001")
      let plain = text(20_000)
      try await store.put(key, .bytes(plain))
      let name = try await store.stored(key).name
      let sealed = try #require(base[name])
      #expect(UInt64(sealed.count) == SealedObject.sealedSize(20_000))
      func readsAreRefused(_ bytes: [UInt8], _ what: String) async {
        base[name] = bytes
        let error = await #expect(throws: ObjectStorageError.self, "\(what)") {
          _ = try await store.get(key, range: nil)
        }
        #expect(error?.key == key.name)
        await #expect(throws: ObjectStorageError.self, "\(what)") {
          _ = try await store.get(key, range: 0..<20_000)
        }
      }
      for offset in stride(from: 0, to: sealed.count, by: 61) {
        var bad = sealed
        bad[offset] ^= 0x10
        await readsAreRefused(bad, "byte \(offset)")
      }
      for count in [0, 50, 80, 96, 8_288, 16_496, sealed.count - 1] {
        await readsAreRefused(Array(sealed[..<count]), "cut at \(count)")
      }
      await readsAreRefused(sealed + [0], "longer")
      var swapped = sealed
      swapped.replaceSubrange(80..<80 + 8_208, with: sealed[8_288..<8_288 + 8_208])
      await readsAreRefused(swapped, "frames exchanged")
      base[name] = sealed
      #expect(try await store.get(key, range: 8_000..<9_000) == Array(plain[8_000..<9_000]))
    }
  }

  @Test func anObjectUnderAnotherNameDoesNotOpen() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let store = try await encrypted(base, directory)
      let keys = [ObjectKey("a/00000001"), ObjectKey("a/00000002")]
      for key in keys { try await store.put(key, .bytes(text(100))) }
      base[try await store.stored(keys[0]).name] = base[try await store.stored(keys[1]).name]
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await store.get(keys[0], range: nil)
      }
      #expect(error?.code == .damaged)
    }
  }

  /// One object of a size that none can have ends no listing: whoever reads it is told.
  @Test func anEmptiedObjectIsListedAndRefusedWhenItIsRead() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let store = try await encrypted(base, directory)
      // Numbers are listed page by page, names all at once.
      for names in [["a/00000001", "a/00000002"], ["b/one", "b/two"]] {
        let keys = names.map { ObjectKey($0) }
        for key in keys { try await store.put(key, .bytes(text(100))) }
        for damaged: [UInt8] in [[], [1, 2, 3]] {
          base[try await store.stored(keys[0]).name] = damaged
          let fresh = try await encrypted(base, directory)
          let prefix = String(names[0].prefix(2))
          let listed = try await fresh.list(prefix: prefix, after: nil, limit: 9)
          #expect(listed.map(\.key) == keys && listed.map(\.size) == [0, 100])
          #expect(try await fresh.size(keys[0]) == 0)
          for range: Range<UInt64>? in [nil, 0..<0, 0..<1] {
            let error = await #expect(throws: ObjectStorageError.self) {
              _ = try await fresh.get(keys[0], range: range)
            }
            #expect(error?.code == .damaged && error?.key == names[0])
          }
          #expect(try await fresh.get(keys[1], range: nil) == text(100))
        }
      }
    }
  }

  @Test func objectsOfOtherProjectsAreReadUntilTheirKeyIsDestroyed() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let one = try await encrypted(base, directory, project: "one")
      let two = try await encrypted(base, directory, project: "two")
      try await one.put(ObjectKey("a/one"), .bytes([1]))
      try await two.put(ObjectKey("a/two"), .bytes([2]))
      #expect(base.keys.filter { $0.hasPrefix("exzo/keys/") }.count == 2)
      #expect(try await two.get(ObjectKey("a/one"), range: nil) == [1])
      try await two.destroyKeys(ofProject: "one")
      let late = try await encrypted(base, directory, project: "two")
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await late.get(ObjectKey("a/one"), range: nil)
      }
      #expect(error?.code == .unknownKey)
      #expect(error.map { "\($0)".contains("lost") } == true)
      #expect(try await late.get(ObjectKey("a/two"), range: nil) == [2])
    }
  }

  @Test func rotationWrapsKeysAgainAndRewritesNothingElse() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let store = try await encrypted(base, directory)
      try await store.put(ObjectKey("a/b"), .bytes(text(1000)))
      let before = Dictionary(uniqueKeysWithValues: base.keys.map { ($0, base[$0]) })
      let file = MasterKeySource.file("\(directory)/master-key")
      let old = try file.load().current
      let new = MasterKey.random()
      let both = MasterKeys(current: new, former: [old])
      #expect(try await EncryptedObjectStore.rewrapKeys(of: base, masters: both) == 2)
      #expect(try await EncryptedObjectStore.rewrapKeys(of: base, masters: both) == 0)
      for name in base.keys {
        #expect((base[name] == before[name]) == !name.hasPrefix("exzo/"), "\(name)")
      }
      // The old key opens nothing any more, and the error says what that means.
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await encrypted(base, directory)
      }
      #expect(error?.code == .unknownKey)
      #expect(error.map { "\($0)".contains("lost") } == true)
      try MasterKeys(current: new).text
        .write(toFile: "\(directory)/master-key", atomically: true, encoding: .utf8)
      let again = try await encrypted(base, directory)
      #expect(try await again.get(ObjectKey("a/b"), range: nil) == text(1000))
    }
  }

  /// As a second store that is away for as long.
  @Test func aCopyFromBeforeTwoRotationsOpens() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let store = try await encrypted(base, directory)
      try await store.put(ObjectKey("a/b"), .bytes(text(1000)))
      let copy = MemoryObjectStore()
      for name in base.keys { copy[name] = base[name] }
      let path = "\(directory)/master-key"
      for _ in 0..<2 {
        let next = try MasterKeySource.file(path).load().rotated()
        try next.text.write(toFile: path, atomically: true, encoding: .utf8)
        #expect(try await EncryptedObjectStore.rewrapKeys(of: base, masters: next) == 2)
      }
      for place in [base, copy] {
        let again = try await encrypted(place, directory)
        #expect(try await again.get(ObjectKey("a/b"), range: nil) == text(1000))
      }
    }
  }

  @Test func plainAndEncryptedStoresAreNotMixed() async throws {
    try await withTemporaryDirectory { directory in
      let plain = MemoryObjectStore()
      try await plain.put(ObjectKey("lines/a"), .bytes([1]))
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await encrypted(plain, directory)
      }
      #expect(error?.code == .misconfigured && error?.hint.isEmpty == false)
      #expect(try await EncryptedObjectStore.isEncrypted(plain) == false)
      let base = MemoryObjectStore()
      _ = try await encrypted(base, directory)
      #expect(try await EncryptedObjectStore.isEncrypted(base))
    }
  }

  @Test func masterKeysComeFromFilesAndCommands() throws {
    let keys = MasterKeys(current: .random(), former: [.random()])
    let read = try MasterKeys(text: "# a remark\n" + keys.text, source: "test")
    #expect(read.current == keys.current && read.former == keys.former)
    let command = "printf '%s' '\(keys.text)'"
    #expect(try MasterKeySource.command(command).load().current == keys.current)
    for bad in ["", "exzo-master-key-1 AAAA", "nonsense"] {
      #expect(throws: ObjectStorageError.self) { _ = try MasterKeys(text: bad, source: "test") }
    }
    #expect(throws: ObjectStorageError.self) { _ = try MasterKeySource.command("exit 3").load() }
    let error = #expect(throws: ObjectStorageError.self) {
      _ = try MasterKeySource.file("/no/such/file").load()
    }
    #expect(error?.code == .unknownKey)
  }

  @Test func namesComeBackAndNumbersStay() throws {
    let names = OpaqueNames(key: Array(0..<32))
    for name in [
      "lines/ln-aaaaaaaaaaaaaaaa/wal/00000001-00000000000a", "a", "a/a", "a/b/c",
      "list/a.c", "x/\(String(repeating: "long", count: 30))",
    ] {
      let hidden = names.encode(name)
      #expect(ObjectKey.isValid(hidden) && names.decode(hidden) == name)
      #expect(names.encode(name) == hidden)
    }
    #expect(
      names.encode("a/a").split(separator: "/")[0] != names.encode("a/a").split(separator: "/")[1])
    #expect(names.encode("wal/00000001-00000000000a").hasSuffix("/00000001-00000000000a"))
    #expect(OpaqueNames(key: Array(1..<33)).decode(names.encode("a")) == nil)
    #expect(
      names.decode("exzo/names") == nil && names.decode("-") == nil && names.decode("") == nil)
    for hexadecimal in ["deadbeef", "00000001-0001"] { #expect(OpaqueNames.isNumber(hexadecimal)) }
    for other in ["dead", "deadbeeg", "deadbeef-", "ln-00000001", ""] {
      #expect(!OpaqueNames.isNumber(other))
    }
  }

  @Test func sizesAreInverse() {
    for size: UInt64 in [0, 1, 8_191, 8_192, 8_193, 16_384, 1_000_000] {
      #expect(SealedObject.plainSize(SealedObject.sealedSize(size)) == size)
    }
    #expect(SealedObject.plainSize(95) == nil)
    #expect(SealedObject.plainSize(80 + 8_208 + 16) == nil)
  }
}
