import Foundation

/// A run of blocks of one file whose pages are made together, for readers that go through the file in order.
///
/// One thread makes it, block by block; readers wait until it has passed theirs. Concurrency: any thread.
final class PageLot: @unchecked Sendable {
  let blocks: Range<UInt32>
  private let condition = NSCondition()
  // Guarded by `condition`.
  private var passed: UInt32
  private var isEnded = false
  private var asInImage: [Bool]

  init(_ blocks: Range<UInt32>) {
    self.blocks = blocks
    passed = blocks.lowerBound
    asInImage = Array(repeating: false, count: blocks.count)
  }

  /// All blocks below are made, or known to be as in the image.
  /// - Parameter unchanged: those of them that are as in the image.
  func pass(to block: UInt32, unchanged: some Sequence<UInt32>) {
    withSignal {
      for block in unchanged { asInImage[Int(block - blocks.lowerBound)] = true }
      passed = max(passed, block)
    }
  }

  /// Nothing is made any more; whoever misses a page makes it.
  func end() { withSignal { isEnded = true } }

  private func withSignal(_ body: () -> Void) {
    condition.lock()
    defer { condition.unlock() }
    body()
    condition.broadcast()
  }

  /// Whether the lot has come to its end.
  var isDone: Bool { condition.withLock { isEnded } }

  /// Blocks until the lot has passed `end`, or has ended.
  func wait(until end: UInt32) {
    condition.lock()
    defer { condition.unlock() }
    while !isEnded, passed < min(end, blocks.upperBound) { condition.wait() }
  }

  /// Whether the block's page is the image's; false where that is not known.
  func isUnchanged(_ block: UInt32) -> Bool {
    condition.withLock { blocks.contains(block) && asInImage[Int(block - blocks.lowerBound)] }
  }
}
