import Foundation
import History
import Synchronization
import Volume

/// A keyframe's image with the blocks that replay is about to read held in memory.
///
/// Purpose: replay's cost is cold reads, one at a time; here they are decompressed in the order in
/// which they
/// are stored, each part once, while the server starts.
/// State: 1. a block is handed out only after it was copied whole; 2. at most ``limit`` blocks are
/// held, and none after
/// ``cool()``; 3. what is not held is read from the layers.
/// Concurrency: any thread; reads copy under a short lock.
final class WarmedBaseView: BaseView {
  /// Blocks held at most: 256 MiB.
  static let limit = 32_768

  private struct Held {
    var slots: [BlockAddress: Int] = [:]
    var arena: Arena?
    var used = 0
    var isCooled = false
  }

  /// Memory for the blocks; touched only under the lock.
  private final class Arena: @unchecked Sendable {
    private let memory: UnsafeMutableRawBufferPointer
    let capacity: Int

    init(capacity: Int) {
      self.capacity = capacity
      memory = .allocate(byteCount: capacity * blockSize, alignment: 4096)
    }

    deinit { memory.deallocate() }

    func block(_ slot: Int) -> UnsafeMutableRawBufferPointer {
      UnsafeMutableRawBufferPointer(rebasing: memory[slot * blockSize..<(slot + 1) * blockSize])
    }
  }

  let view: LayerStackView
  private let held = Mutex(Held())

  init(_ view: LayerStackView) { self.view = view }

  var tree: FileTreeSnapshot { view.tree }

  /// Reads blocks into memory on threads of its own; returns when they are there. Blocks the
  /// thread.
  func warm(_ addresses: [BlockAddress]) throws {
    let wanted = Array(addresses.prefix(Self.limit))
    held.withLock { held in
      guard !held.isCooled, held.arena == nil, !wanted.isEmpty else { return }
      held.arena = Arena(capacity: wanted.count)
      held.slots.reserveCapacity(wanted.count)
    }
    try view.prefetch(wanted) { [self] address, bytes in
      held.withLock { held in
        guard let arena = held.arena, held.used < arena.capacity else { return }
        arena.block(held.used).copyMemory(from: bytes)
        held.slots[address] = held.used
        held.used += 1
      }
    }
  }

  /// Gives the memory back; reads go to the layers from now on.
  func cool() {
    held.withLock { held in
      held.isCooled = true
      held.slots = [:]
      held.arena = nil
    }
  }

  func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    var next = 0
    while next < count {
      let address = BlockAddress(file: file, block: startBlock + UInt32(next))
      if copy(address, into: slice(buffer, next, 1)) {
        next += 1
        continue
      }
      var run = 1
      while next + run < count,
        !holds(BlockAddress(file: file, block: startBlock + UInt32(next + run)))
      {
        run += 1
      }
      try view.read(
        file: file, startBlock: address.block, count: run, into: slice(buffer, next, run))
      next += run
    }
  }

  private func slice(
    _ buffer: UnsafeMutableRawBufferPointer, _ first: Int, _ count: Int
  ) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(
      rebasing: buffer[first * blockSize..<(first + count) * blockSize])
  }

  private func holds(_ address: BlockAddress) -> Bool {
    held.withLock { $0.slots[address] != nil }
  }

  private func copy(_ address: BlockAddress, into target: UnsafeMutableRawBufferPointer) -> Bool {
    held.withLock { held in
      guard let slot = held.slots[address], let arena = held.arena else { return false }
      target.copyMemory(from: UnsafeRawBufferPointer(arena.block(slot)))
      return true
    }
  }
}
