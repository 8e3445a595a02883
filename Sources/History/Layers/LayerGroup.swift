import PostgresFormat

/// Layers that are read as one, and where the WAL goes on from what they hold.
///
/// A page found in a group is as the WAL below ``redoLSN`` made it, or later; the records at or above that
/// touch it bring it to any moment (a record that the page holds already is passed over by redo, which
/// compares LSNs). An image is a list of groups, newest first: a block belongs to the first group that knows
/// it, and one that none knows was never written before the last group's redo LSN.
public struct LayerGroup: Hashable, Sendable {
  /// Newest first.
  public var layers: [LayerReference]
  /// Where replay starts from these layers.
  public var redoLSN: LSN

  public init(layers: [LayerReference], redoLSN: LSN) {
    self.layers = layers
    self.redoLSN = redoLSN
  }
}

extension [LayerGroup] {
  /// Layers in all groups, newest first.
  public var layers: [LayerReference] { flatMap(\.layers) }

  func encode(to writer: inout BinaryWriter) {
    writer.append(varint: UInt64(count))
    for group in self {
      writer.append(group.redoLSN.rawValue)
      writer.append(varint: UInt64(group.layers.count))
      for layer in group.layers { layer.encode(to: &writer) }
    }
  }

  init(from reader: inout BinaryReader) throws {
    self = []
    for _ in 0..<(try reader.readCount(minimumSize: 17)) {
      var group = LayerGroup(layers: [], redoLSN: LSN(try reader.read()))
      for _ in 0..<(try reader.readCount(minimumSize: 8)) {
        group.layers.append(try LayerReference(from: &reader))
      }
      guard !group.layers.isEmpty else { throw reader.malformed("a group with layers") }
      if let newer = last, newer.redoLSN < group.redoLSN {
        throw reader.malformed("groups in order of their redo LSN")
      }
      append(group)
    }
    guard layers.count <= LayerStack.maximumLayers else {
      throw reader.malformed("at most \(LayerStack.maximumLayers) layers")
    }
  }
}
