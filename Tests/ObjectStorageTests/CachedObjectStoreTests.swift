import DurableIO
import Foundation
import ObjectStorage
import TestSupport
import Testing

@Suite struct CachedObjectStoreTests {
  private let key = ObjectKey("cache/object")
  private let content = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 7) }

  private func cached(
    _ base: any ObjectStore, _ directory: String, limit: UInt64 = 1 << 30
  ) throws -> CachedObjectStore {
    try CachedObjectStore(base, directory: "\(directory)/cache", limit: limit)
  }

  @Test func keepsTheContract() async throws {
    try await withTemporaryDirectory { directory in
      let store = try cached(MemoryObjectStore(), directory)
      try await ObjectStoreContract(store: store, directory: directory).runAll()
      // A second time, over what the first left in the cache.
      try await ObjectStoreContract(store: store, directory: directory).runAll()
    }
  }

  @Test func readsEachBlockOnceForAllWhoShareTheDirectory() async throws {
    try await withTemporaryDirectory { directory in
      let base = FaultyObjectStore(MemoryObjectStore())
      try await base.put(key, .bytes(content))
      let first = try cached(base, directory)
      #expect(try await first.get(key, range: 20_000..<30_000) == Array(content[20_000..<30_000]))
      let asked = base.calls.count
      let second = try cached(base, directory)
      #expect(try await second.get(key, range: 21_000..<32_000) == Array(content[21_000..<32_000]))
      let bytes = try await onThread { [key] in
        var buffer = [UInt8](repeating: 0, count: 500)
        try buffer.withUnsafeMutableBytes { try second.read(key, at: 20_100, into: $0) }
        return buffer
      }
      #expect(bytes == Array(content[20_100..<20_600]))
      #expect(base.calls.count == asked, "all of it lies in one block, which is cached")
      #expect(second.statistics.hits == 2 && second.statistics.misses == 0)
    }
  }

  /// Each request takes as long as some hundred kilobytes.
  @Test func theSecondMissInANeighbourhoodFetchesTheRest() async throws {
    try await withTemporaryDirectory { directory in
      let content = (0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 7) }
      let base = FaultyObjectStore(MemoryObjectStore())
      try await base.put(key, .bytes(content))
      let store = try cached(base, directory)
      func expectRead(_ range: Range<UInt64>, requests: Int) async throws {
        let before = base.calls.count { $0.operation == .get }
        let found = try await store.get(key, range: range)
        #expect(found == Array(content[Int(range.lowerBound)..<Int(range.upperBound)]))
        #expect(base.calls.count { $0.operation == .get } - before == requests, "\(range)")
      }
      try await expectRead(100_000..<100_100, requests: 1)
      try await expectRead(200_000..<230_000, requests: 1)
      for start in stride(from: UInt64(0), to: 262_000, by: 9_000) {
        try await expectRead(start..<min(start + 9_000, 262_144), requests: 0)
      }
      // Elsewhere one read alone fetches what it asks for; the object's end is no obstacle.
      try await expectRead(300_000..<300_010, requests: 1)
      try await expectRead(699_000..<699_990, requests: 1)
      try await expectRead(530_000..<530_010, requests: 1)
      try await expectRead(600_000..<700_000, requests: 0)
      let bytes = try await onThread { [key] in
        var buffer = [UInt8](repeating: 0, count: 500)
        try buffer.withUnsafeMutableBytes { try store.read(key, at: 400_100, into: $0) }
        return buffer
      }
      #expect(bytes == Array(content[400_100..<400_600]))
      try await expectRead(262_144..<524_288, requests: 0)
    }
  }

  /// Every way in which a crash or a bad disk can leave a cache file.
  @Test func wrongEntriesAreFetchedAgain() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      try await base.put(key, .bytes(content))
      let store = try cached(base, directory)
      let files = { () -> [String] in
        try FileManager.default.subpathsOfDirectory(atPath: "\(directory)/cache")
          .map { "\(directory)/cache/\($0)" }
          .filter {
            ((try? FileManager.default.attributesOfItem(atPath: $0)[.size]) as? Int ?? 0) > 9_000
          }
          .filter { path in
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
              && !isDirectory.boolValue
          }
      }
      func read() async throws {
        #expect(try await store.get(key, range: 0..<200_000) == content)
      }
      try await read()
      let path = try #require(files().first)
      let good = try Data(contentsOf: URL(fileURLWithPath: path))
      var random = SeededRandom(seed: 5)
      for round in 0..<60 {
        var bad = good
        switch round % 4 {
        case 0: bad = bad.prefix(Int.random(in: 0..<good.count, using: &random))
        case 1:
          let at = Int.random(in: 0..<good.count, using: &random)
          bad[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2:
          let at = Int.random(in: 0..<good.count - 4096, using: &random)
          bad.replaceSubrange(at..<at + 4096, with: Data(count: 4096))
        default:
          // A block in another's place.
          let slot = 16_384 + 32
          bad.replaceSubrange(slot..<2 * slot, with: good[0..<slot])
        }
        try bad.write(to: URL(fileURLWithPath: path))
        let misses = store.statistics.misses
        try await read()
        #expect(store.statistics.misses > misses, "round \(round): the damage was not noticed")
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == good, "round \(round)")
      }
    }
  }

  @Test func staysBelowItsLimitAndKeepsWhatIsUsed() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      let limit: UInt64 = 4 << 20
      let store = try cached(base, directory, limit: limit)
      let large = [UInt8](repeating: 3, count: 500_000)
      for number in 0..<40 {
        let key = ObjectKey("many/\(number)")
        try await base.put(key, .bytes(large))
        #expect(try await store.get(key, range: 0..<500_000) == large)
        #expect(store.usedBytes <= limit + (2 << 20))
      }
      let fresh = try cached(base, directory, limit: limit)
      #expect(fresh.usedBytes <= limit)
      #expect(fresh.usedBytes > limit / 4)
    }
  }

  @Test func manyReadersAtOnceReadRight() async throws {
    try await withTemporaryDirectory { directory in
      let base = MemoryObjectStore()
      try await base.put(key, .bytes(content))
      let stores = try (0..<3).map { _ in try cached(base, directory) }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for task in 0..<12 {
          group.addTask {
            var random = SeededRandom(seed: UInt64(task))
            for _ in 0..<100 {
              let start = Int.random(in: 0..<200_000, using: &random)
              let end = Int.random(in: start...200_000, using: &random)
              let found = try await stores[task % 3].get(
                key, range: UInt64(start)..<UInt64(end))
              #expect(found == Array(content[start..<end]))
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func whatIsReplacedThroughItIsNotRemembered() async throws {
    try await withTemporaryDirectory { directory in
      let store = try cached(MemoryObjectStore(), directory)
      try await store.put(key, .bytes(content))
      _ = try await store.get(key, range: 0..<100)
      try await store.put(key, .bytes([9, 9, 9]))
      #expect(try await store.get(key, range: 0..<3) == [9, 9, 9])
      try await store.delete(key)
      let error = await #expect(throws: ObjectStorageError.self) {
        _ = try await store.get(key, range: 0..<3)
      }
      #expect(error?.code == .notFound)
    }
  }
}
