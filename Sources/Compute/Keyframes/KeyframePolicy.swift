import History

/// Decides when a keyframe gets a complete layer.
///
/// Pages can be made from older ones and WAL, so complete layers only keep chains short; what they cost is
/// bounded against the WAL that they spare. State that WAL alone does not give back (commit log, control
/// file, relation maps …) is small and in every keyframe.
struct KeyframePolicy: Sendable {
  /// Bytes of complete layers, as first stored, for a byte of WAL; merging adds about a quarter.
  var bytesPerWALByte = 0.45
  /// A page with so many records since the newest complete layer has an image in partial layers: to make it
  /// would take some milliseconds.
  static let hotRecords = 2000
  /// Such images in a partial layer, at most.
  static let hotBlocks = 256
  /// A layer that is expected to be smaller is always complete.
  var floor = 256.0 * 1024
  /// What a changed block takes in a layer; learned from the layers made.
  private(set) var bytesPerBlock = 2500.0
  /// Set by tests.
  var completeLayers: AgentSpecification.CompleteLayers?

  init(completeLayers: AgentSpecification.CompleteLayers? = nil) {
    self.completeLayers = completeLayers
  }

  /// - Parameter isCrossable: whether pages can be made from the WAL since the newest complete layer.
  func kind(changedBlocks: Int, walBytes: UInt64, isCrossable: Bool) -> KeyframeKind {
    guard isCrossable else { return .complete }
    switch completeLayers {
    case .always: return .complete
    case .never: return .partial
    case nil: break
    }
    let cost = Double(changedBlocks) * bytesPerBlock
    return cost <= max(floor, Double(walBytes) * bytesPerWALByte) ? .complete : .partial
  }

  mutating func learn(storedBytes: UInt64, blocks: UInt64) {
    guard blocks >= 64 else { return }
    bytesPerBlock = (bytesPerBlock + Double(storedBytes) / Double(blocks)) / 2
  }
}
