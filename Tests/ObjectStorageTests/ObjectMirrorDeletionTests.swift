import DurableIO
import Foundation
import ObjectStorage
import TestSupport
import Testing

/// What is gone from the first store, and when the copy follows.
extension ObjectMirrorTests {
  @Test func deletionFollowsWithDelayAndNeverEmptiesTheCopy() async throws {
    try await withTemporaryDirectory { directory in
      let (first, second) = (MemoryObjectStore(), MemoryObjectStore())
      for number in 0..<10 { try await first.put(ObjectKey("a/\(number)"), .bytes([1])) }
      let clock = Clock()
      let mirror = try mirror(first, second, directory, clock: clock)
      try await mirror.pass()
      try await first.delete(ObjectKey("a/3"))
      var status = try await mirror.pass()
      #expect(status.awaitingDeletion == 1 && second.keys.count == 10)
      clock.advance(99)
      try await mirror.pass()
      #expect(second.keys.count == 10)
      clock.advance(1)
      status = try await mirror.pass()
      #expect(second.keys.count == 9 && !second.keys.contains("a/3"))
      #expect(status.awaitingDeletion == 0)
      // Someone empties the first store: the copy stays, and the status says why.
      for name in first.keys { try await first.delete(ObjectKey(name)) }
      try await mirror.pass()
      clock.advance(1000)
      status = try await mirror.pass()
      #expect(second.keys.count == 9)
      #expect(status.failure?.contains("none is deleted") == true)
    }
  }

  /// A copy that lacks what took the place of merged objects would be whole no more without these.
  @Test func nothingIsDeletedWhileTheCopyLacksWhatTookItsPlace() async throws {
    try await withTemporaryDirectory { directory in
      let (first, memory) = (MemoryObjectStore(), MemoryObjectStore())
      let second = FaultyObjectStore(memory)
      for name in ["z/1", "z/2", "z/3", "z/4"] {
        try await first.put(ObjectKey(name), .bytes([1, 2, 3]))
      }
      let clock = Clock()
      let mirror = try mirror(first, second, directory, clock: clock)
      try await mirror.pass()
      try await first.put(ObjectKey("z/merged"), .bytes([1, 2, 3, 1, 2, 3]))
      first["z/1"] = nil
      second.setRule { $0.operation == .put ? .before : nil }
      for _ in 0..<3 {
        clock.advance(200)
        #expect(try await mirror.pass().failure != nil)
      }
      #expect(memory.keys.count == 4)
      second.setRule(nil)
      #expect(try await mirror.pass().failure == nil)
      #expect(Set(memory.keys) == ["z/2", "z/3", "z/4", "z/merged"])
    }
  }

  /// As a busy installation goes on: what is gone after a while outweighs all that stays, by number and by size.
  @Test func whatLivesForMinutesStopsNoDeletion() async throws {
    try await withTemporaryDirectory { directory in
      let (first, second) = (MemoryObjectStore(), MemoryObjectStore())
      func put(_ name: String, _ size: Int) async throws {
        try await first.put(ObjectKey(name), .bytes([UInt8](repeating: 1, count: size)))
      }
      for number in 0..<5 { try await put("layers/\(number)", 1000) }
      let clock = Clock()
      let mirror = try mirror(first, second, directory, clock: clock)
      for round in 0..<40 {
        for part in 0..<3 { try await put("wal/\(round)-\(part)", 900) }
        try await put("catalog/changes/\(round)", 10)
        #expect(try await mirror.pass().failure == nil, "round \(round)")
        for part in 0..<3 { try await first.delete(ObjectKey("wal/\(round)-\(part)")) }
        try await put("wal/merged\(round)", 2700)
        if round > 0 { try await first.delete(ObjectKey("wal/merged\(round - 1)")) }
        try await first.delete(ObjectKey("catalog/changes/\(round)"))
        clock.advance(10)
        #expect(try await mirror.pass().failure == nil, "round \(round)")
        #expect(second.keys.count < 80, "round \(round)")
      }
      clock.advance(100)
      try await mirror.pass()
      #expect(second.keys == first.keys)
    }
  }

  /// However much is new there, and whoever is asked again: until it is back, or somebody says that it is right.
  @Test(arguments: [false, true])
  func anEmptiedStoreEmptiesNoCopy(isBrought: Bool) async throws {
    try await withTemporaryDirectory { directory in
      let (first, second) = (MemoryObjectStore(), MemoryObjectStore())
      let body = [UInt8](repeating: 1, count: 100)
      let old = (0..<10).map { "a/\($0)" }
      for name in old { try await first.put(ObjectKey(name), .bytes(body)) }
      let clock = Clock()
      var mirror = try mirror(first, second, directory, clock: clock)
      try await mirror.pass()
      for name in old { try await first.delete(ObjectKey(name)) }
      for round in 0..<30 {
        let status = try await mirror.pass()
        #expect(status.lossFoundAt == 1_000_000 && status.missingObjects == 0, "round \(round)")
        #expect(status.failure?.contains("none is deleted") == true)
        #expect(Set(old).isSubset(of: second.keys), "round \(round)")
        clock.advance(100)
        try await first.put(ObjectKey("b/\(round)"), .bytes(body))
        // Another process goes on with what this one wrote down.
        let known = try JSONDecoder().decode(
          ObjectMirror.Status.self, from: JSONEncoder().encode(status))
        mirror = try self.mirror(first, second, directory, clock: clock, known: known)
      }
      try await mirror.pass()
      if isBrought {
        for name in old { try await first.put(ObjectKey(name), .bytes(body)) }
      } else {
        mirror.acceptLoss()
        clock.advance(100)
      }
      let status = try await mirror.pass()
      #expect(status.lossFoundAt == nil && status.failure == nil)
      #expect(second.keys == first.keys)
      // And the next one is noticed again.
      for name in first.keys { try await first.delete(ObjectKey(name)) }
      #expect(try await mirror.pass().lossFoundAt == clock.now)
    }
  }

  /// A rule of the bucket or a throttled command takes hours, beside writers that go on.
  @Test func aStoreThatIsEmptiedLittleByLittleEmptiesNoCopy() async throws {
    try await withTemporaryDirectory { directory in
      let (first, second) = (MemoryObjectStore(), MemoryObjectStore())
      let body = [UInt8](repeating: 1, count: 100)
      let old = (10..<50).map { "a/\($0)" }
      for name in old { try await first.put(ObjectKey(name), .bytes(body)) }
      let clock = Clock()
      var mirror = try mirror(first, second, directory, clock: clock)
      try await mirror.pass()
      var status = mirror.status
      for name in old {
        clock.advance(2)
        first[name] = nil
        try await first.put(ObjectKey("b/\(name.dropFirst(2))"), .bytes([1]))
        // Another process knows what this one wrote down.
        let known = try JSONDecoder().decode(
          ObjectMirror.Status.self, from: JSONEncoder().encode(status))
        mirror = try self.mirror(first, second, directory, clock: clock, known: known)
        status = try await mirror.pass()
      }
      #expect(status.lossFoundAt != nil)
      clock.advance(1000)
      status = try await mirror.pass()
      #expect(status.failure?.contains("none is deleted") == true)
      #expect(Set(old).isSubset(of: second.keys))
    }
  }

  /// What shrinks by its own retention, over longer than deletions wait, is followed.
  @Test func aStoreThatShrinksOverLongIsFollowed() async throws {
    try await withTemporaryDirectory { directory in
      let (first, second) = (MemoryObjectStore(), MemoryObjectStore())
      let body = [UInt8](repeating: 1, count: 100)
      let old = (10..<30).map { "a/\($0)" }
      for name in old { try await first.put(ObjectKey(name), .bytes(body)) }
      let clock = Clock()
      let mirror = try mirror(first, second, directory, clock: clock)
      try await mirror.pass()
      for name in old.dropLast() {
        clock.advance(60)
        first[name] = nil
        let status = try await mirror.pass()
        #expect(status.lossFoundAt == nil && status.failure == nil, "\(name)")
      }
      clock.advance(100)
      try await mirror.pass()
      #expect(second.keys == first.keys)
    }
  }

  /// An earlier version noted the size of the first store only, which may have been emptied by then.
  @Test func whatIsKnownFromAnEarlierVersionLetsNoCopyBeEmptied() async throws {
    try await withTemporaryDirectory { directory in
      let (first, second) = (MemoryObjectStore(), MemoryObjectStore())
      try await first.put(ObjectKey("b/new"), .bytes([1]))
      for number in 0..<10 { second["a/\(number)"] = [1, 2, 3] }
      var known = ObjectMirror.Status()
      (known.completeAsOf, known.objects, known.bytes) = (999_000, 1, 1)
      let clock = Clock()
      let mirror = try mirror(first, second, directory, clock: clock, known: known)
      let status = try await mirror.pass()
      clock.advance(1000)
      try await mirror.pass()
      #expect(second.keys.count == 11)
      // It says what is known, who decides, and that a single copy needs nobody's word.
      let failure = try #require(status.failure)
      for part in [
        "is known to have held", "deleted a large project", "mirror-accept", "deletes nothing",
      ] {
        #expect(failure.contains(part), "\(failure)")
      }
    }
  }
}
