import DurableIO
import ObjectStorage
import PostgresFormat
import Volume

/// The image of a keyframe, read through its groups of layers.
///
/// ## Purpose
/// Gives a block's newest stored page and the LSN from which the WAL may hold more of it.
///
/// ## State and invariants
/// 1. A block belongs to the first group that knows it; cut off counts as known (zeros).
/// 2. Groups together have at most ``LayerStack/maximumLayers`` layers.
/// 3. A damaged or missing object is an error that names it, never zeros.
///
/// ## Concurrency
/// Safe from many threads; calls block and must not be made on the cooperative pool.
public final class GroupedImage: Sendable {
  /// The tree of the newest layer.
  public let tree: FileTreeSnapshot
  /// Of all groups.
  public let layerCount: Int
  private let groups: [(view: LayerStackView, redoLSN: LSN)]

  /// Reads the newest layer's tree. Blocks the thread.
  /// - Parameter groups: newest first, at least one.
  public init(
    groups: [LayerGroup], storage: LayerStorage, cachedParts: Int = 128
  ) throws {
    precondition(!groups.isEmpty, "an image of no layers")
    let tree = try LayerReader(groups[0].layers[0], storage: storage).readTree()
    self.tree = tree
    layerCount = groups.layers.count
    self.groups = groups.map {
      let view = LayerStackView(
        group: $0, tree: tree, storage: storage, cachedParts: cachedParts / groups.count)
      return (view, $0.redoLSN)
    }
  }

  /// Where the WAL begins that some block may need.
  public var oldestRedoLSN: LSN { groups[groups.count - 1].redoLSN }

  /// Reads consecutive blocks of which each belongs to one group.
  ///
  /// - Parameter buffer: `count * blockSize` bytes; blocks that no group knows are zeros.
  public func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    precondition(buffer.count == count * blockSize)
    try forEachRun(file, startBlock, count) { range, source, view, _ in
      let target = UnsafeMutableRawBufferPointer(
        rebasing: buffer[range.lowerBound * blockSize..<range.upperBound * blockSize])
      switch source {
      case .zeros, .unknown: target.initializeMemory(as: UInt8.self, repeating: 0)
      case .object(let object, _, let ordinal):
        try view.read(object, from: Int(ordinal), count: range.count, into: target)
      }
    }
  }

  /// Where the WAL begins that may hold more of each of consecutive blocks than ``read(file:startBlock:count:into:)``
  /// gives; reads indices only.
  public func redoLSNs(file: FileID, startBlock: UInt32, count: Int) throws -> [LSN] {
    var redoLSNs = [LSN](repeating: .invalid, count: count)
    try forEachRun(file, startBlock, count) { range, _, _, redoLSN in
      for index in range { redoLSNs[index] = redoLSN }
    }
    return redoLSNs
  }

  /// Runs of blocks that lie behind each other in one place, as offsets from `startBlock`.
  private func forEachRun(
    _ file: FileID, _ startBlock: UInt32, _ count: Int,
    _ body: (Range<Int>, LayerStack.Source, LayerStackView, LSN) throws -> Void
  ) throws {
    var done = 0
    while done < count {
      let (source, view, redoLSN, run) = try resolve(
        BlockAddress(file: file, block: startBlock + UInt32(done)))
      let end = done + min(count - done, Int(run))
      try body(done..<end, source, view, redoLSN)
      done = end
    }
  }

  private func resolve(
    _ address: BlockAddress
  ) throws -> (LayerStack.Source, LayerStackView, LSN, UInt32) {
    var limit = UInt32.max
    for (view, redoLSN) in groups {
      let (source, count) = try view.stack.resolve(address)
      limit = min(limit, count)
      if case .unknown = source { continue }
      return (source, view, redoLSN, limit)
    }
    let last = groups[groups.count - 1]
    return (.unknown, last.view, last.redoLSN, limit)
  }
}
