import DurableIO
import ObjectStorage
import Synchronization
import Volume

/// Where the objects of layers are read from.
public struct LayerStorage: Sendable {
  public var store: any ObjectStore
  /// Opens the store's local files, where it has some.
  public var fileSystem: any FileSystem

  public init(store: any ObjectStore, fileSystem: any FileSystem) {
    self.store = store
    self.fileSystem = fileSystem
  }
}

/// One object of a layer, opened: its index is in memory.
final class OpenLayerObject: Sendable {
  let envelope: EnvelopeReader
  let index: LayerIndex
  var key: ObjectKey { envelope.source.key }

  init(_ source: any ObjectBytes, reference: LayerObjectReference) throws {
    guard source.size == reference.size else {
      throw HistoryError(
        .damaged, operation: "open", key: source.key.name,
        detail: "\(source.size) bytes, written as \(reference.size)")
    }
    envelope = try EnvelopeReader(source, kind: .layer)
    index = try LayerIndex(
      encoded: envelope.read(type: LayerPartType.index, name: "index"), key: source.key.name)
    try check(reference)
  }

  /// The index must fit the reference and the directory: else a block would be looked for in the
  /// wrong part.
  private func check(_ reference: LayerObjectReference) throws {
    let parts = (Int(index.blockCount) + index.blocksPerPart - 1) / index.blocksPerPart
    var sound = index.blockCount == reference.blockCount && parts <= envelope.directory.count
    if sound {
      sound = (0..<parts).allSatisfy {
        let entry = envelope.directory[$0]
        return entry.type == LayerPartType.blocks && entry.plainLength == partSize($0)
      }
    }
    guard sound else {
      throw HistoryError(
        .damaged, operation: "open", key: key.name, detail: "index and parts disagree")
    }
  }

  /// Bytes of a part of blocks.
  func partSize(_ part: Int) -> Int {
    let blocks = min(index.blocksPerPart, Int(index.blockCount) - part * index.blocksPerPart)
    return blocks * blockSize
  }
}

/// A layer whose objects are opened when they are first needed.
///
/// Safe from several threads; blocks the thread while an object opens.
final class LayerReader: Sendable {
  let reference: LayerReference
  private let storage: LayerStorage
  private let opened: Mutex<[OpenLayerObject?]>

  init(_ reference: LayerReference, storage: LayerStorage) {
    self.reference = reference
    self.storage = storage
    opened = Mutex(Array(repeating: nil, count: reference.objects.count))
  }

  /// The object that answers for an address.
  func objectNumber(for address: BlockAddress) -> Int {
    var (low, high) = (0, reference.objects.count)
    while low < high {
      let middle = (low + high) / 2
      if reference.objects[middle].start <= address { low = middle + 1 } else { high = middle }
    }
    return max(low - 1, 0)
  }

  func object(_ number: Int) throws -> OpenLayerObject {
    if let object = opened.withLock({ $0[number] }) { return object }
    let source = try openObject(
      reference.key(ofObject: number), size: reference.objects[number].size,
      store: storage.store, fileSystem: storage.fileSystem)
    let object = try OpenLayerObject(source, reference: reference.objects[number])
    // Two threads may have opened it at once: the first one stays.
    return opened.withLock { opened in
      if let first = opened[number] { return first }
      opened[number] = object
      return object
    }
  }

  /// The layer's answer for a block, for how many blocks it holds, and the object that gave it.
  func lookUp(_ address: BlockAddress) throws
    -> (answer: LayerIndex.Answer, count: UInt32, object: OpenLayerObject)
  {
    let number = objectNumber(for: address)
    let object = try object(number)
    var (answer, count) = object.index.lookUp(address)
    if number + 1 < reference.objects.count {
      let end = reference.objects[number + 1].start
      if end.file == address.file { count = min(count, end.block - address.block) }
    }
    return (answer, count, object)
  }

  /// The tree at the layer's end.
  func readTree() throws -> FileTreeSnapshot {
    let object = try object(reference.objects.count - 1)
    return try FileTreeSnapshot(
      encoded: object.envelope.read(type: LayerPartType.tree, name: "tree"),
      key: object.key.name)
  }
}
