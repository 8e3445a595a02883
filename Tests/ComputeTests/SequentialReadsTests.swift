import Foundation
import Synchronization
import Testing
import Volume

@testable import Compute

/// Which pages are made ahead of a reader that goes through a file in order.
@Suite struct SequentialReadsTests {
  private let file = FileID(7)

  /// Reads `blocks` 128 at a time; lots are made at once.
  private func read(
    _ blocks: Range<UInt32>, of end: UInt32, _ reads: SequentialReads, _ lots: inout [PageLot]
  ) -> [Range<UInt32>] {
    var direct: [Range<UInt32>] = []
    for start in stride(from: blocks.lowerBound, to: blocks.upperBound, by: 128) {
      let range = start..<min(start + 128, blocks.upperBound)
      let answer = reads.note(file, range, end: end)
      for lot in [answer.isNew ? answer.lot : nil, answer.following].compactMap({ $0 }) {
        lots.append(lot)
        lot.pass(to: lot.blocks.upperBound, unchanged: [])
        lot.end()
      }
      if answer.lot == nil { direct.append(range) }
    }
    return direct
  }

  @Test func aFileReadInOrderIsMadeInGrowingLotsToItsEnd() throws {
    let reads = SequentialReads()
    var lots: [PageLot] = []
    let end: UInt32 = 131_072
    let direct = read(0..<end, of: end, reads, &lots)
    #expect(direct == [0..<128])
    #expect(lots.first?.blocks.lowerBound == 128)
    #expect(lots.last?.blocks.upperBound == end)
    for (lot, next) in zip(lots, lots.dropFirst()) {
      #expect(lot.blocks.upperBound == next.blocks.lowerBound)
      #expect(next.blocks.count <= 4 * lot.blocks.count)
      #expect(next.blocks.count <= Int(SequentialReads.most))
    }
    #expect(lots.count < 8)
  }

  @Test func readsHereAndThereAreNotInOrder() {
    let reads = SequentialReads()
    var lots: [PageLot] = []
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<2_000 {
      // Far from each other: neighbours by chance are rare, and too few for a lot.
      let start = UInt32.random(in: 0..<1_000, using: &generator) * 131
      _ = read(start..<start + 1, of: 131_072, reads, &lots)
    }
    #expect(lots.isEmpty)
  }

  @Test func aScanGoesOnThoughOthersReadTheFile() {
    let reads = SequentialReads()
    var lots: [PageLot] = []
    let end: UInt32 = 20_000
    var direct = 0
    for start in stride(from: UInt32(0), to: end, by: 128) {
      direct += read(start..<min(start + 128, end), of: end, reads, &lots).count
      _ = read(start &* 7919 % end..<start &* 7919 % end + 1, of: end, reads, &lots)
    }
    #expect(lots.last?.blocks.upperBound == end)
    #expect(direct < 5)
  }

  /// A reader that waits for its lot reads nothing meanwhile, while others do.
  @Test func aLotUnderWayIsNotForgottenForReadsElsewhere() throws {
    let reads = SequentialReads()
    let end: UInt32 = 100_000
    var lot: PageLot?
    for start in stride(from: UInt32(0), to: 384, by: 128) {
      let answer = reads.note(file, start..<start + 128, end: end)
      if answer.isNew { lot = answer.lot }
    }
    let first = try #require(lot)
    for number in 0..<200 {
      let block = 50_000 + UInt32(number) * 77
      let answer = reads.note(file, block..<block + 1, end: end)
      #expect(answer.lot == nil && answer.following == nil && !answer.isInOrder)
    }
    // One within the lot, far ahead of the reader, does not wait for it.
    let ahead = reads.note(file, 1_000..<1_001, end: end)
    #expect(ahead.lot === first && !ahead.isInOrder)
    first.pass(to: first.blocks.upperBound, unchanged: [])
    first.end()
    // Nor does it bring about the next one.
    #expect(reads.note(file, 1_000..<1_001, end: end).following == nil)
    var lots: [PageLot] = []
    _ = read(384..<2_000, of: end, reads, &lots)
    #expect(lots.first?.blocks.lowerBound == first.blocks.upperBound)
  }

  @Test func aReaderWaitsUntilItsBlocksWerePassedOrTheLotEnded() throws {
    let lot = PageLot(100..<200)
    let reached = Atomic<UInt32>(0)
    let done = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      for end in [UInt32(120), 150, 260] {
        lot.wait(until: end)
        reached.store(end, ordering: .sequentiallyConsistent)
      }
      done.signal()
    }
    usleep(20_000)
    #expect(reached.load(ordering: .sequentiallyConsistent) == 0)
    lot.pass(to: 130, unchanged: [101, 129])
    usleep(20_000)
    #expect(reached.load(ordering: .sequentiallyConsistent) == 120)
    #expect(lot.isUnchanged(101) && lot.isUnchanged(129))
    #expect(!lot.isUnchanged(102) && !lot.isUnchanged(99) && !lot.isUnchanged(200))
    lot.end()
    #expect(done.wait(timeout: .now() + 10) == .success)
    #expect(reached.load(ordering: .sequentiallyConsistent) == 260)
    #expect(lot.isDone)
  }
}
