import DurableIO
import Foundation
import ObjectStorage
import TestSupport
import Testing

@Suite struct LocalObjectStoreTests {
  @Test func keepsTheContract() async throws {
    try await withTemporaryDirectory { directory in
      let store = try LocalObjectStore(
        root: "\(directory)/store", fileSystem: SystemFileSystem())
      try await ObjectStoreContract(store: store, directory: directory).runAll()
    }
  }

  @Test func testStoresKeepTheContract() async throws {
    try await withTemporaryDirectory { directory in
      let memory = MemoryObjectStore()
      try await ObjectStoreContract(store: memory, directory: directory).runAll()
      let faulty = FaultyObjectStore(MemoryObjectStore())
      try await ObjectStoreContract(store: faulty, directory: directory).runAll()
    }
  }

  @Test func keepsObjectsWhenOpenedAgain() async throws {
    try await withTemporaryDirectory { directory in
      let key = ObjectKey("a/b/c")
      let first = try LocalObjectStore(root: directory, fileSystem: SystemFileSystem())
      try await first.put(key, .bytes([1, 2, 3]))
      let second = try LocalObjectStore(root: directory, fileSystem: SystemFileSystem())
      #expect(try await second.get(key, range: nil) == [1, 2, 3])
      let path = try #require(second.localFile(key))
      #expect(Array(try Data(contentsOf: URL(fileURLWithPath: path))) == [1, 2, 3])
    }
  }

  @Test func removesOnlyWhatEndedProcessesLeft() async throws {
    try await withTemporaryDirectory { directory in
      _ = try LocalObjectStore(root: directory, fileSystem: SystemFileSystem())
      // No process has this id: it is above the kernel's highest limit.
      let abandoned = "\(directory)/incoming/4194305-abc-1"
      let live = "\(directory)/incoming/\(getpid())-abc-1"
      for path in [abandoned, live] { try Data([1]).write(to: URL(fileURLWithPath: path)) }
      _ = try LocalObjectStore(root: directory, fileSystem: SystemFileSystem())
      #expect(!FileManager.default.fileExists(atPath: abandoned))
      #expect(FileManager.default.fileExists(atPath: live))
    }
  }

  @Test func failedPutLeavesNothing() async throws {
    try await withTemporaryDirectory { directory in
      let store = try LocalObjectStore(root: directory, fileSystem: SystemFileSystem())
      try await store.put(ObjectKey("a"), .bytes([1]))
      // `a` is an object, so `a/b` cannot be one; the error names what was asked for.
      let error = await #expect(throws: ObjectStorageError.self) {
        try await store.put(ObjectKey("a/b"), .bytes([2]))
      }
      #expect(error?.key == "a/b")
      #expect(try await store.list(prefix: "", after: nil, limit: 10).map(\.key.name) == ["a"])
      let incoming = try FileManager.default.contentsOfDirectory(atPath: "\(directory)/incoming")
      #expect(incoming.isEmpty)
    }
  }

  @Test func errorsNameOperationKeyAndCause() async throws {
    try await withTemporaryDirectory { directory in
      let store = try LocalObjectStore(root: directory, fileSystem: SystemFileSystem())
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await store.get(ObjectKey("x/y"), range: nil)
      }
      #expect(error?.code == .notFound)
      #expect(error?.cause is FileError)
      #expect(error.map { "\($0)".hasPrefix("get object 'x/y': notFound") } == true)
    }
  }
}
