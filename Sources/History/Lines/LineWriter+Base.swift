import ObjectStorage
import PostgresFormat

extension LineWriter {
  /// How much of the layers below the volume may lie there for the volume alone, as a part of all of them,
  /// before it moves on to a later keyframe.
  private static let ownShare: UInt64 = 4

  /// Lets the line's volume, which runs, read the newest keyframe that stands alone in place of what it reads
  /// now, where there is a better one.
  ///
  /// A manifest that names both is durable before `change` is called; after it has returned another one names
  /// the new layers only. So retention keeps what the volume reads at any step, and whoever opens the volume after
  /// a crash reads the newest keyframe that stands alone in any case. Where the second manifest cannot be
  /// written, the next one says it; the next call writes one.
  /// - Parameter change: makes the volume read the layers; when it returns nobody reads the former ones. Where it
  ///   throws, the volume reads what it read before.
  /// - Returns: the layers read from now on; `nil` where nothing was to be done.
  /// - Throws: ``HistoryError``, and what `change` throws.
  public func moveBase(
    _ change: @escaping @Sendable ([LayerReference]) async throws -> Void
  ) async throws -> [LayerReference]? {
    try await baseGate.run { try await self.moveBaseAlone(change) }
  }

  private func moveBaseAlone(
    _ change: @Sendable ([LayerReference]) async throws -> Void
  ) async throws -> [LayerReference]? {
    guard betterBase != nil else {
      if base != contents.base { try await writeManifest() }
      return nil
    }
    // What retention has withdrawn meanwhile is no base.
    try await passOverEvicted()
    guard let layers = betterBase else { return nil }
    base.next = layers
    do {
      try await writeManifest()
      try await change(layers)
    } catch {
      base.next = nil
      throw error
    }
    base = VolumeBase(layers: layers)
    try await writeManifest()
    return layers
  }

  /// Layers of the newest keyframe that stands alone, where the volume still needs its origin, or holds more than
  /// a part of what it reads for itself.
  private var betterBase: [LayerReference]? {
    guard let newest = contents.standaloneKeyframe?.layers, newest != base.layers else {
      return nil
    }
    guard let present = base.layers else { return newest }
    let named = Set(newest)
    let own = present.filter { !named.contains($0) }.reduce(0) { $0 + $1.storedBytes }
    let all = newest.reduce(0) { $0 + $1.storedBytes }
    return own * Self.ownShare > all ? newest : nil
  }
}
