import Synchronization
import Volume

/// A decompressed part of blocks; immutable once it is filled.
final class DecodedPart: @unchecked Sendable {
  // Written only by `init`, which no other thread can see.
  private let memory: UnsafeMutableRawBufferPointer

  convenience init(_ part: Int, of object: OpenLayerObject) throws {
    try self.init(size: object.partSize(part)) { try object.envelope.read(part, into: $0) }
  }

  init(size: Int, fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
    memory = .allocate(byteCount: size, alignment: 4096)
    // On throw `deinit` runs: every property is set.
    try fill(memory)
  }

  deinit { memory.deallocate() }

  /// Blocks of the part, counted within it.
  func blocks(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      rebasing: memory[range.lowerBound * blockSize..<range.upperBound * blockSize])
  }
}

/// The parts decompressed last: a fixed number of slots, each part having one place.
///
/// Serves neighbouring blocks that are read one at a time. Safe from several threads; the lock is
/// held for a look-up only.
final class PartCache: Sendable {
  private struct Slot {
    var object: ObjectIdentifier
    var part: Int
    var decoded: DecodedPart
  }

  private let slots: Mutex<[Slot?]>
  private let count: Int

  init(count: Int) {
    self.count = max(count, 1)
    slots = Mutex(Array(repeating: nil, count: max(count, 1)))
  }

  func part(_ part: Int, of object: OpenLayerObject) throws -> DecodedPart {
    // The cache's owner keeps its objects open, so an identity is not used twice.
    let id = ObjectIdentifier(object)
    let place = Int(UInt(bitPattern: id.hashValue &+ part &* 0x9E37_79B1) % UInt(count))
    let cached = slots.withLock { slots -> DecodedPart? in
      guard let slot = slots[place], slot.object == id, slot.part == part else { return nil }
      return slot.decoded
    }
    if let cached { return cached }
    let decoded = try DecodedPart(part, of: object)
    slots.withLock { $0[place] = Slot(object: id, part: part, decoded: decoded) }
    return decoded
  }
}
