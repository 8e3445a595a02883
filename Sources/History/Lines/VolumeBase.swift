import PostgresFormat

/// What a line's volume reads below its own blocks, as the line's writer says it in its manifests.
///
/// State: while a volume goes from one base to another both are named, so that retention keeps both.
struct VolumeBase: Hashable, Sendable {
  /// Layers of a keyframe that stands alone; `nil`: as the writer's owner object says.
  var layers: [LayerReference]?
  /// What it is about to read in place of them.
  var next: [LayerReference]?

  init(layers: [LayerReference]? = nil, next: [LayerReference]? = nil) {
    self.layers = layers
    self.next = next
  }
}

extension VolumeBase {
  func encode(to writer: inout BinaryWriter) {
    for layers in [layers, next] {
      writer.append(varint: UInt64(layers?.count ?? 0))
      for layer in layers ?? [] { layer.encode(to: &writer) }
    }
  }

  init(from reader: inout BinaryReader) throws {
    func readLayers() throws -> [LayerReference]? {
      let count = try reader.readCount(minimumSize: 8)
      guard count <= LayerStack.maximumLayers else {
        throw reader.malformed("at most \(LayerStack.maximumLayers) layers")
      }
      return count == 0 ? nil : try (0..<count).map { _ in try LayerReference(from: &reader) }
    }
    self.init(layers: try readLayers(), next: try readLayers())
  }
}
