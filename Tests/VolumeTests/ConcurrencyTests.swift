import DurableIO
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Volume

private final class Count: Sendable {
  private let number = Atomic<Int>(0)
  var value: Int { number.load(ordering: .acquiring) }
  func add() { number.add(1, ordering: .releasing) }
}

@Suite struct ConcurrencyTests {
  /// Runs `body` on threads of its own, numbered from 0.
  private func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) {
    let done = DispatchGroup()
    for number in 0..<count {
      done.enter()
      Thread.detachNewThread {
        do { try body(number) } catch { Issue.record("thread \(number): \(error)") }
        done.leave()
      }
    }
    done.wait()
  }

  @Test func readersSeeWholePagesWhileWritersSealAndDestage() async throws {
    try await withTemporaryDirectory { directory in
      var configuration = testConfiguration("\(directory)/v")
      configuration.destagesInBackground = true
      configuration.segmentSize = 4 << 20
      let volume = try Volume.open(configuration)
      _ = try volume.makeDirectory("base", in: .root, mode: 0o700)
      let blocks = 64
      let file = try volume.writeFile("base/1", [UInt8](repeating: 1, count: blocks * blockSize))
      let done = Count()
      onThreads(4) { number in
        var random = SeededRandom(seed: UInt64(number))
        switch number {
        case 0:
          for _ in 0..<1500 {
            let bytes = page(UInt8(1 + random.below(255)))
            try volume.write(file, at: UInt64(random.below(blocks) * blockSize), bytes)
          }
          done.add()
        case 1:
          while done.value == 0 {
            try volume.forget(epoch: try volume.seal().number)
            usleep(2000)
          }
        case 2:
          while done.value == 0 {
            let image = try volume.read(
              file, at: UInt64(random.below(blocks) * blockSize), count: blockSize)
            #expect(same(image, page(image[0])))
          }
        default:
          var round = 0
          while done.value == 0 {
            round += 1
            try volume.writeFile("t\(round % 5)", page(UInt8(round % 250)))
            try volume.sync()
            _ = try volume.list(.root)
            try volume.unlink("t\(round % 5)", in: .root)
          }
        }
      }
      let before = try volume.contents()
      try volume.close()
      let again = try Volume.open(configuration)
      #expect(try again.contents() == before)
      try again.close()
    }
  }

  @Test func oneSyncServesManyWaiters() async throws {
    try await withTemporaryDirectory { directory in
      let volume = try Volume.open(testConfiguration("\(directory)/v"))
      let file = try volume.create("a", in: .root, mode: 0o600).id
      onThreads(8) { number in
        for _ in 0..<25 {
          try volume.write(file, at: UInt64(number * blockSize), page(UInt8(number)))
          try volume.sync()
        }
      }
      #expect(volume.statistics.syncs <= 201)
      let before = volume.statistics.syncs
      for _ in 0..<10 { try volume.sync() }
      #expect(volume.statistics.syncs == before)
      try volume.close()
    }
  }

  @Test func pressureIsToldOncePerCrossing() async throws {
    try await withTemporaryDirectory { directory in
      var configuration = testConfiguration("\(directory)/v")
      configuration.destagesInBackground = true
      configuration.logBudget = 100_000
      let volume = try Volume.open(configuration)
      let told = DispatchSemaphore(value: 0)
      let count = Count()
      volume.observePressure {
        count.add()
        told.signal()
      }
      for round in 1...2 {
        for number in 0..<40 { try volume.writeFile("a", page(UInt8(number))) }
        told.wait()
        #expect(count.value == round)
        try volume.seal()
        try volume.writeFile("a", page(0))
      }
      try volume.close()
    }
  }

  @Test func deferredSyncIsMadeUpFor() async throws {
    try await withTemporaryDirectory { directory in
      var configuration = testConfiguration("\(directory)/v")
      configuration.syncMode = .deferred
      let volume = try Volume.open(configuration)
      try volume.writeFile("a", page(1))
      try volume.sync()
      #expect(volume.statistics.syncs == 0)
      try volume.makeDurable()
      #expect(volume.statistics.syncs == 1)
      try volume.writeFile("a", page(2))
      try volume.sync()
      #expect(volume.statistics.syncs == 2)
      try volume.close()
    }
  }
}
