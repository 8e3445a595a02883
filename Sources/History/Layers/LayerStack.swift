import Volume

/// Layers read as one, newest first.
///
/// A block comes from the newest layer that holds it, unless a layer above cut the file off below
/// the block: then it is zeros.
struct LayerStack: Sendable {
  /// A read never looks in more layers than this.
  static let maximumLayers = 24
  /// Complete layers of one line above its base: leaves room for lines that are opened from it.
  static let maximumOwnLayers = 4

  let layers: [LayerReader]

  init(_ references: [LayerReference], storage: LayerStorage) {
    layers = references.map { LayerReader($0, storage: storage) }
  }

  /// Consecutive blocks that come from one place.
  enum Source {
    case zeros
    /// No layer knows them; as zeros for a reader, but not for a merge of some layers of a stack.
    case unknown
    case object(OpenLayerObject, layer: Int, ordinal: UInt32)
  }

  /// Where a block comes from, and how many blocks from it on come from there in one run.
  func resolve(_ address: BlockAddress) throws -> (source: Source, count: UInt32) {
    var limit = UInt32.max - address.block
    for (number, layer) in layers.enumerated() {
      let (answer, count, object) = try layer.lookUp(address)
      limit = min(limit, count)
      switch answer {
      case .present(let ordinal):
        return (.object(object, layer: number, ordinal: ordinal), limit)
      case .cutOff: return (.zeros, limit)
      case .older: continue
      }
    }
    return (.unknown, limit)
  }
}
