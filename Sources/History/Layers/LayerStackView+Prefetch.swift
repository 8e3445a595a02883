import DurableIO
import Volume

extension LayerStackView {
  /// A block that is wanted, with its place in the store.
  private struct Wanted {
    var object: Int
    var ordinal: UInt32
    var address: BlockAddress
  }

  /// Reads many blocks in the order in which they are stored, each part once.
  ///
  /// Blocks that no layer holds are left out: they are zeros. Returns when all blocks have been
  /// delivered, or throws the first error after the threads have ended.
  /// - Parameter blocks: in any order; 20 bytes of memory each.
  /// - Parameter threads: how many threads decompress; `deliver` runs on them, several at once.
  /// - Parameter deliver: gets the address and ``blockSize`` bytes, valid during the call.
  public func prefetch(
    _ blocks: [BlockAddress], threads: Int = 2,
    deliver: @escaping @Sendable (BlockAddress, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    let (objects, wanted) = try locate(blocks)
    // Threads that read far objects wait, and cost next to nothing meanwhile.
    let isFar = objects.contains { !$0.envelope.source.isNear }
    let shares = max(1, min(isFar ? max(threads, Self.farThreads) : threads, wanted.count))
    let latches = (0..<shares).map { share in
      let range = wanted.count * share / shares..<wanted.count * (share + 1) / shares
      let latch = Latch<Void>()
      startThread {
        latch.set(Result { try LayerStackView.read(wanted[range], of: objects, deliver) })
      }
      return latch
    }
    let results = latches.map { $0.wait() }
    for result in results { try result.get() }
  }

  private static let farThreads = 16
  /// Of far objects, this much is fetched at once, with gaps up to this.
  private static let longestRun = 1 << 20
  private static let widestGap: UInt64 = 32 << 10

  private func locate(_ blocks: [BlockAddress]) throws -> ([OpenLayerObject], [Wanted]) {
    var objects: [OpenLayerObject] = []
    var numbers: [ObjectIdentifier: Int] = [:]
    var wanted: [Wanted] = []
    wanted.reserveCapacity(blocks.count)
    for address in blocks {
      guard case .object(let object, _, let ordinal) = try stack.resolve(address).source
      else { continue }
      let id = ObjectIdentifier(object)
      let number = numbers[id] ?? objects.count
      if number == objects.count {
        objects.append(object)
        numbers[id] = number
      }
      wanted.append(Wanted(object: number, ordinal: ordinal, address: address))
    }
    wanted.sort { ($0.object, $0.ordinal) < ($1.object, $1.ordinal) }
    return (objects, wanted)
  }

  private static func read(
    _ wanted: ArraySlice<Wanted>, of objects: [OpenLayerObject],
    _ deliver: (BlockAddress, UnsafeRawBufferPointer) throws -> Void
  ) throws {
    var current: (object: Int, part: Int, decoded: DecodedPart)?
    var run: (object: Int, parts: ClosedRange<Int>, stored: [UInt8])?
    for (place, block) in zip(wanted.indices, wanted) {
      let object = objects[block.object]
      let (part, offset) = Int(block.ordinal)
        .quotientAndRemainder(dividingBy: object.index.blocksPerPart)
      if current?.object != block.object || current?.part != part {
        if !object.envelope.source.isNear,
          run.map({ $0.object != block.object || !$0.parts.contains(part) }) ?? true
        {
          let parts = part...lastPart(of: wanted[place...], in: object)
          run = (block.object, parts, try object.envelope.readStored(parts))
        }
        let decoded: DecodedPart
        if let run, run.object == block.object, run.parts.contains(part) {
          decoded = try DecodedPart(size: object.partSize(part)) {
            try object.envelope.read(
              part, in: run.stored, first: run.parts.lowerBound, into: $0)
          }
        } else {
          decoded = try DecodedPart(part, of: object)
        }
        current = (block.object, part, decoded)
      }
      if let current { try deliver(block.address, current.decoded.blocks(offset..<offset + 1)) }
    }
  }

  /// The last part that is worth reading together with that of the first block.
  private static func lastPart(of wanted: ArraySlice<Wanted>, in object: OpenLayerObject) -> Int {
    guard let first = wanted.first else { return 0 }
    let directory = object.envelope.directory
    var last = Int(first.ordinal) / object.index.blocksPerPart
    let start = directory[last].offset
    for block in wanted {
      let part = Int(block.ordinal) / object.index.blocksPerPart
      guard block.object == first.object else { break }
      if part == last { continue }
      let range = directory[part].storedRange
      guard range.lowerBound <= directory[last].storedRange.upperBound + widestGap,
        range.upperBound - start <= UInt64(longestRun)
      else { break }
      last = part
    }
    return last
  }
}
