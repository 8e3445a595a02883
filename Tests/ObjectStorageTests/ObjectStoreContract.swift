import Foundation
import ObjectStorage
import TestSupport
import Testing

/// What every object store must do; each implementation's tests run all of it.
struct ObjectStoreContract {
  let store: any ObjectStore
  /// For bodies that are files.
  let directory: String

  func runAll() async throws {
    try await returnsWhatWasPut()
    try await readsRanges()
    try await refusesRangesThatLeaveTheObject()
    try await saysThatAnObjectIsAbsent()
    try await putReplaces()
    try await putsFiles()
    try await deletesAndForgives()
    try await listsInKeyOrder()
    try await listsAfterAKeyAndUpToALimit()
    try await putsAtOnceDoNotMix()
    try await slicesEndWithTheObject()
    try await readsOnAThread()
    try await findsDirectories()
    try await deletesManyAtOnce()
  }

  func slicesEndWithTheObject() async throws {
    let key = ObjectKey("slice/object")
    try await store.put(key, .bytes(bytes(10_000)))
    for range: Range<UInt64> in [
      0..<10, 9_000..<11_000, 0..<1_000_000, 10_000..<10_001, 20_000..<20_001,
    ] {
      let found = try await store.slice(key, range)
      let expected = range.clamped(to: 0..<10_000)
      #expect(found.objectSize == 10_000)
      #expect(
        found.bytes == Array(bytes(10_000)[Int(expected.lowerBound)..<Int(expected.upperBound)]))
    }
    #expect(await code { _ = try await store.slice(ObjectKey("slice/absent"), 0..<1) } == .notFound)
  }

  func readsOnAThread() async throws {
    let key = ObjectKey("read/object")
    try await store.put(key, .bytes(bytes(50_000)))
    let found = try await onThread { [store] in
      var buffer = [UInt8](repeating: 0, count: 30_000)
      try buffer.withUnsafeMutableBytes { try store.read(key, at: 17_000, into: $0) }
      return buffer
    }
    #expect(found == Array(bytes(50_000)[17_000..<47_000]))
    for (offset, count) in [(49_999, 2), (50_001, 1)] {
      let error = await code {
        try await onThread { [store] in
          var buffer = [UInt8](repeating: 0, count: count)
          try buffer.withUnsafeMutableBytes { try store.read(key, at: UInt64(offset), into: $0) }
        }
      }
      #expect(error == .outOfRange)
    }
  }

  func findsDirectories() async throws {
    for name in ["tree/b/1", "tree/a/x/y", "tree/a-c/1", "tree/a0/2", "tree/file", "tree/a/z"] {
      try await store.put(ObjectKey(name), .bytes([1]))
    }
    #expect(try await store.directories(in: "tree/") == ["a", "a-c", "a0", "b"])
    #expect(try await store.directories(in: "tree/a/") == ["x"])
    #expect(try await store.directories(in: "tree/b/") == [])
    #expect(try await store.directories(in: "no-tree/") == [])
    #expect(try await store.directories(in: "").contains("tree"))
    try await store.delete(ObjectKey("tree/b/1"))
    #expect(try await store.directories(in: "tree/") == ["a", "a-c", "a0"])
  }

  func deletesManyAtOnce() async throws {
    let keys = (0..<30).map { ObjectKey("many/\($0)") }
    for key in keys { try await store.put(key, .bytes([1])) }
    try await store.delete(Array(keys.dropFirst()) + [ObjectKey("many/absent")])
    #expect(try await store.list(prefix: "many/", after: nil, limit: 100).map(\.key) == [keys[0]])
    try await store.delete([])
  }

  private func bytes(_ count: Int, seed: UInt8 = 1) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ Int(seed)) }
  }

  private func code(_ body: () async throws -> Void) async -> ObjectStorageError.Code? {
    do {
      try await body()
      return nil
    } catch {
      return (error as? ObjectStorageError)?.code
    }
  }

  func returnsWhatWasPut() async throws {
    for (name, count) in [("whole/empty", 0), ("whole/one", 1), ("whole/big", 300_000)] {
      let key = ObjectKey(name)
      try await store.put(key, .bytes(bytes(count)))
      #expect(try await store.get(key, range: nil) == bytes(count))
      #expect(try await store.size(key) == UInt64(count))
    }
  }

  func readsRanges() async throws {
    let key = ObjectKey("range/object")
    try await store.put(key, .bytes(bytes(10_000)))
    for range in [0..<1, 0..<10_000, 9_999..<10_000, 17..<4_117, 5..<5, 10_000..<10_000] {
      let found = try await store.get(
        key, range: UInt64(range.lowerBound)..<UInt64(range.upperBound))
      #expect(found == Array(bytes(10_000)[range]))
    }
  }

  func refusesRangesThatLeaveTheObject() async throws {
    let key = ObjectKey("range/short")
    try await store.put(key, .bytes(bytes(100)))
    for range: Range<UInt64> in [0..<101, 100..<101, 500..<600] {
      #expect(await code { _ = try await store.get(key, range: range) } == .outOfRange)
    }
  }

  func saysThatAnObjectIsAbsent() async throws {
    let key = ObjectKey("absent/object")
    #expect(await code { _ = try await store.get(key, range: nil) } == .notFound)
    #expect(await code { _ = try await store.get(key, range: 0..<1) } == .notFound)
    #expect(try await store.size(key) == nil)
    try await store.put(ObjectKey("absent/other"), .bytes([1]))
    #expect(try await store.size(ObjectKey("absent")) == nil)
  }

  func putReplaces() async throws {
    let key = ObjectKey("replace/object")
    try await store.put(key, .bytes(bytes(5_000, seed: 1)))
    try await store.put(key, .bytes(bytes(100, seed: 2)))
    #expect(try await store.get(key, range: nil) == bytes(100, seed: 2))
  }

  func putsFiles() async throws {
    let path = "\(directory)/body"
    let content = bytes(2_500_000)
    try Data(content).write(to: URL(fileURLWithPath: path))
    let key = ObjectKey("file/object")
    try await store.put(key, .file(path: path))
    try FileManager.default.removeItem(atPath: path)
    #expect(try await store.get(key, range: nil) == content)
    let missing = ObjectKey("file/missing")
    await #expect(throws: (any Error).self) {
      try await store.put(missing, .file(path: "\(directory)/no-such-file"))
    }
    #expect(try await store.size(missing) == nil)
  }

  func deletesAndForgives() async throws {
    let key = ObjectKey("delete/object")
    try await store.put(key, .bytes([1]))
    try await store.delete(key)
    #expect(try await store.size(key) == nil)
    try await store.delete(key)
    try await store.delete(ObjectKey("delete/never/was"))
  }

  /// Byte order of whole keys: `-` and `.` sort before `/`, letters and digits after it.
  private let listed = [
    "list/a-b", "list/a.c", "list/a/1", "list/a/2/x", "list/a/2/y", "list/a0", "list/aa",
    "list/b/z", "listen",
  ]

  func listsInKeyOrder() async throws {
    for name in listed.shuffled() { try await store.put(ObjectKey(name), .bytes(bytes(3))) }
    func names(_ prefix: String) async throws -> [String] {
      try await store.list(prefix: prefix, after: nil, limit: 100).map(\.key.name)
    }
    #expect(try await names("list") == listed)
    #expect(try await names("list/") == Array(listed.dropLast()))
    #expect(try await names("list/a") == Array(listed[0..<7]))
    #expect(try await names("list/a/") == Array(listed[2..<5]))
    #expect(try await names("list/a/2") == Array(listed[3..<5]))
    #expect(try await names("list/b/z") == ["list/b/z"])
    #expect(try await names("list/nothing") == [])
    let sizes = try await store.list(prefix: "list/", after: nil, limit: 100).map(\.size)
    #expect(sizes.allSatisfy { $0 == 3 })
  }

  func listsAfterAKeyAndUpToALimit() async throws {
    for name in listed { try await store.put(ObjectKey(name), .bytes(bytes(3))) }
    for after in listed + ["list/a", "list/a/2", "list/0", "list/zz", "list/a/2/xx"] {
      for limit in [1, 2, 100] {
        let expected = listed.filter { $0.utf8.lexicographicallyPrecedes("list0".utf8) }
          .filter { after.utf8.lexicographicallyPrecedes($0.utf8) && $0.hasPrefix("list/") }
        let found = try await store.list(prefix: "list/", after: ObjectKey(after), limit: limit)
        #expect(found.map(\.key.name) == Array(expected.prefix(limit)), "after \(after)")
      }
    }
  }

  func putsAtOnceDoNotMix() async throws {
    let key = ObjectKey("race/object")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for seed: UInt8 in 0..<16 {
        group.addTask { try await store.put(key, .bytes(bytes(20_000, seed: seed))) }
        group.addTask { try await store.put(ObjectKey("race/\(seed)"), .bytes([seed])) }
      }
      try await group.waitForAll()
    }
    let found = try await store.get(key, range: nil)
    #expect((0..<16).contains { found == bytes(20_000, seed: $0) })
    for seed: UInt8 in 0..<16 {
      #expect(try await store.get(ObjectKey("race/\(seed)"), range: nil) == [seed])
    }
  }
}
