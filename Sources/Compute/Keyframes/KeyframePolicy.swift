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

  /// - Parameters:
  ///   - isCrossable: whether pages can be made from the WAL since the newest complete layer.
  ///   - hasRoom: false where a complete layer would have to wait until others are merged.
  func kind(
    changedBlocks: Int, walBytes: UInt64, isCrossable: Bool, hasRoom: Bool = true
  ) -> KeyframeKind {
    guard isCrossable else { return .complete }
    switch completeLayers {
    case .always: return .complete
    case .never: return .partial
    case nil: break
    }
    guard hasRoom else { return .partial }
    let cost = Double(changedBlocks) * bytesPerBlock
    return cost <= max(floor, Double(walBytes) * bytesPerWALByte) ? .complete : .partial
  }

  /// How old a line gets before its base is left behind whatever that costs: until then the WAL and the layers
  /// that only it needs have to stay.
  static let baseAge: Int64 = 86_400

  /// Whether a line's base is left behind now, whatever it costs.
  /// - Parameter age: of the line, seconds.
  func isOverdue(age: Int64) -> Bool { age >= Self.baseAge }

  /// A line with more layers gathers them at the next occasion: branches of branches pile them up.
  static let crowdedLayers = 6

  /// Whether the next keyframe of a line that was opened without replay stands alone.
  /// - Parameters:
  ///   - blocks: that its layer will hold.
  ///   - walBytes: since the oldest redo LSN of the line's base.
  ///   - age: of the line, seconds.
  ///   - layers: of its newest keyframe.
  func standsAlone(blocks: Int, walBytes: UInt64, age: Int64, layers: Int) -> Bool {
    switch completeLayers {
    case .always: return true
    case .never: return false
    case nil: break
    }
    return isOverdue(age: age) || layers > Self.crowdedLayers
      || Double(blocks) * bytesPerBlock <= max(floor, Double(walBytes) * bytesPerWALByte)
  }

  mutating func learn(storedBytes: UInt64, blocks: UInt64) {
    guard blocks >= 64 else { return }
    bytesPerBlock = (bytesPerBlock + Double(storedBytes) / Double(blocks)) / 2
  }
}
