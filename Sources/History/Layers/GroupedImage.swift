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
  private let groups: [(view: LayerStackView, redoLSN: LSN)]

  /// Reads the newest layer's tree. Blocks the thread.
  /// - Parameter groups: newest first, at least one.
  public init(
    groups: [LayerGroup], storage: LayerStorage, cachedParts: Int = 128
  ) throws {
    precondition(!groups.isEmpty, "an image of no layers")
    let tree = try LayerReader(groups[0].layers[0], storage: storage).readTree()
    self.tree = tree
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
  /// - Parameter redoLSNs: gets, for each block, where its records begin. One for each of the `count` blocks.
  /// - Parameter buffer: `count * blockSize` bytes; blocks that no group knows are zeros.
  public func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer,
    redoLSNs: UnsafeMutableBufferPointer<LSN>
  ) throws {
    precondition(buffer.count == count * blockSize && redoLSNs.count == count)
    var done = 0
    while done < count {
      let address = BlockAddress(file: file, block: startBlock + UInt32(done))
      let (source, view, redoLSN, run) = try resolve(address)
      let length = min(count - done, Int(run))
      let target = UnsafeMutableRawBufferPointer(
        rebasing: buffer[done * blockSize..<(done + length) * blockSize])
      switch source {
      case .zeros, .unknown: target.initializeMemory(as: UInt8.self, repeating: 0)
      case .object(let object, _, let ordinal):
        try view.read(object, from: Int(ordinal), count: length, into: target)
      }
      for index in done..<done + length { redoLSNs[index] = redoLSN }
      done += length
    }
  }

  /// Where the records of consecutive blocks begin, as ``read(file:startBlock:count:into:redoLSNs:)`` tells; reads
  /// indices only.
  public func redoLSNs(
    file: FileID, startBlock: UInt32, count: Int, into redoLSNs: UnsafeMutableBufferPointer<LSN>
  ) throws {
    precondition(redoLSNs.count == count)
    var done = 0
    while done < count {
      let (_, _, redoLSN, run) = try resolve(
        BlockAddress(file: file, block: startBlock + UInt32(done)))
      let length = min(count - done, Int(run))
      for index in done..<done + length { redoLSNs[index] = redoLSN }
      done += length
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
