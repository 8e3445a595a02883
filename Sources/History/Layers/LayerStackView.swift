import DurableIO
import ObjectStorage
import Volume

/// The tree at a keyframe, read through its layers.
///
/// ## Purpose
/// What the volume of a branch is opened from: nothing is copied, blocks are decompressed as they
/// are read.
///
/// ## State and invariants
/// 1. At most ``LayerStack/maximumLayers`` layers, newest first.
/// 2. Every part is checked against its checksum each time it is decompressed; a damaged or
///    missing object is an error that names it, never zeros.
/// 3. Objects and their indices are opened when first needed and stay open.
///
/// ## Concurrency
/// Safe from many threads; calls block and must not be made on the cooperative pool.
///
/// ## Not guarded here
/// Deletion of objects that have not been opened yet: whoever opens a view holds a lease.
public final class LayerStackView: BaseView {
  public let tree: FileTreeSnapshot
  let stack: LayerStack
  private let cache: PartCache

  /// Opens a view; reads the newest layer's tree. Blocks the thread.
  ///
  /// - Parameter layers: newest first, complete: what no layer knows reads as zeros.
  /// - Parameter cachedParts: decompressed parts to keep, of usually 64 KiB each.
  public init(
    layers: [LayerReference], storage: LayerStorage, cachedParts: Int = 128
  ) throws {
    precondition(
      (1...LayerStack.maximumLayers).contains(layers.count), "a stack of \(layers.count) layers")
    stack = LayerStack(layers, storage: storage)
    tree = try stack.layers[0].readTree()
    cache = PartCache(count: cachedParts)
  }

  /// Opens the layers of one group of an image, which has its tree from elsewhere.
  init(group: LayerGroup, tree: FileTreeSnapshot, storage: LayerStorage, cachedParts: Int) {
    stack = LayerStack(group.layers, storage: storage)
    self.tree = tree
    cache = PartCache(count: cachedParts)
  }

  public func read(
    file: FileID, startBlock: UInt32, count: Int, into buffer: UnsafeMutableRawBufferPointer
  ) throws {
    precondition(buffer.count == count * blockSize, "a buffer of \(buffer.count) bytes")
    var done = 0
    while done < count {
      let address = BlockAddress(file: file, block: startBlock + UInt32(done))
      let (source, run) = try stack.resolve(address)
      let length = min(count - done, Int(run))
      let target = UnsafeMutableRawBufferPointer(
        rebasing: buffer[done * blockSize..<(done + length) * blockSize])
      switch source {
      case .zeros, .unknown: target.initializeMemory(as: UInt8.self, repeating: 0)
      case .object(let object, _, let ordinal):
        try read(object, from: Int(ordinal), count: length, into: target)
      }
      done += length
    }
  }

  /// Copies `count` blocks of one object, by their numbers in it.
  func read(
    _ object: OpenLayerObject, from first: Int, count: Int,
    into target: UnsafeMutableRawBufferPointer
  ) throws {
    let perPart = object.index.blocksPerPart
    var done = 0
    while done < count {
      let (part, offset) = (first + done).quotientAndRemainder(dividingBy: perPart)
      let available = object.partSize(part) / blockSize
      let length = min(count - done, available - offset)
      let place = UnsafeMutableRawBufferPointer(
        rebasing: target[done * blockSize..<(done + length) * blockSize])
      if length == available {
        // The whole part is wanted: it needs no place in the cache.
        try object.envelope.read(part, into: place)
      } else {
        let decoded = try cache.part(part, of: object)
        place.copyMemory(from: decoded.blocks(offset..<offset + length))
      }
      done += length
    }
  }
}
