import DurableIO
import ObjectStorage
import PostgresFormat
import Volume

/// Makes one layer of several neighbouring ones of a stack.
///
/// Newest wins. A block at or above a newer layer's floor does not come through from an older one,
/// and the merged floor is the lowest: with floors `a` (older) and `b` (newer) and blocks `A`, `B`
/// the result has blocks `B` and those of `A` below `b`, and the floor `min(a, b)`. Files that are
/// not in the newest layer's tree are dropped: identities are never used again.
///
/// Streams: memory for one part a layer, and the indices.
struct LayerMerge {
  var line: LineID
  var number: ObjectNumber
  var directory: String
  var fileSystem: any FileSystem
  var layout = LayerLayout()
  /// Asked now and then; ends the merge with a `CancellationError`.
  var isCancelled: @Sendable () -> Bool = { false }

  /// - Parameter layers: newest first, neighbours in their stack.
  /// - Parameter epochs: sealed epochs of `line`'s volume that the result covers.
  func merge(
    _ layers: [LayerReference], epochs: ClosedRange<UInt64>, storage: LayerStorage
  ) throws -> SpooledLayer {
    let stack = LayerStack(layers, storage: storage)
    let tree = try stack.layers[0].readTree()
    let writer = try LayerWriter(
      line: line, number: number, directory: directory, fileSystem: fileSystem, layout: layout)
    do {
      let kept = Set(tree.entries.map(\.id.rawValue))
      var cursors = [LayerCursor](repeating: LayerCursor(), count: layers.count)
      for (file, floor) in try files(of: stack) where kept.contains(file.rawValue) {
        writer.beginFile(file, floor: floor)
        try copy(file, stack, &cursors, to: writer)
      }
      return try writer.finish(
        tree: tree, highestPageLSN: layers.map(\.highestPageLSN).max() ?? .invalid,
        epochs: epochs)
    } catch {
      writer.discard()
      throw error
    }
  }

  /// All files of the layers with their lowest floors, in order.
  private func files(of stack: LayerStack) throws -> [(FileID, UInt32)] {
    var floors: [UInt64: UInt32] = [:]
    for layer in stack.layers {
      for number in layer.reference.objects.indices {
        let index = try layer.object(number).index
        for (file, floor) in zip(index.files, index.floors) {
          floors[file] = min(floors[file] ?? .max, floor)
        }
      }
    }
    return floors.sorted { $0.key < $1.key }.map { (FileID($0.key), $0.value) }
  }

  private func copy(
    _ file: FileID, _ stack: LayerStack, _ cursors: inout [LayerCursor],
    to writer: LayerWriter
  ) throws {
    var block: UInt32 = 0
    while true {
      if isCancelled() { throw CancellationError() }
      let (source, count) = try stack.resolve(BlockAddress(file: file, block: block))
      if case .object(let object, let layer, let ordinal) = source {
        for step in 0..<count {
          try writer.append(
            block: block + step, try cursors[layer].block(Int(ordinal + step), of: object))
        }
      }
      let (next, overflow) = block.addingReportingOverflow(count)
      if overflow || next == .max { return }
      block = next
    }
  }
}

/// The part that a pass over a layer decompressed last.
struct LayerCursor {
  private var object: OpenLayerObject?
  private var part = -1
  private var decoded: DecodedPart?

  /// A block by its number in the object; valid until the next call.
  mutating func block(
    _ ordinal: Int, of object: OpenLayerObject
  ) throws -> UnsafeRawBufferPointer {
    let (part, offset) = ordinal.quotientAndRemainder(dividingBy: object.index.blocksPerPart)
    if let decoded, self.part == part, self.object === object {
      return decoded.blocks(offset..<offset + 1)
    }
    let fresh = try DecodedPart(part, of: object)
    (self.object, self.part, decoded) = (object, part, fresh)
    return fresh.blocks(offset..<offset + 1)
  }
}
