import DurableIO
import ObjectStorage
import PostgresFormat
import Synchronization
import Volume

extension LineWriter {
  /// Builds a layer out of what the volume sealed, stores it, and then the keyframe on top of it.
  ///
  /// On return the keyframe is durable; it counts once ``uploadedLSN`` has passed its consistent
  /// LSN. On throw the line is as it was, and the same epochs may be given again.
  /// - Parameter epochs: sealed one after the other, beginning with ``nextVolumeEpoch``; several
  ///   make one keyframe at the last one's seal.
  /// - Parameter content: what the layer takes its blocks from, as of the last epoch's seal, where
  ///   that is not what the epochs changed.
  /// - Parameter parameters: of the last of the epochs.
  /// - Parameter check: see ``LayerCheck``.
  /// - Throws: ``HistoryError``: `.notContiguous` where an epoch is missing; `.fenced`; `.store`;
  ///   `.localFile`; what `check` throws.
  public func appendKeyframe(
    from epochs: [any SealedEpoch], _ parameters: KeyframeParameters,
    kind: KeyframeKind = .complete, content: (any SealedEpoch)? = nil, check: LayerCheck? = nil
  ) async throws -> Keyframe {
    if kind == .complete, !hasRoomForLayer { try await mergeLayers() }
    let keyframe = try await layerGate.run {
      try await self.makeKeyframe(epochs, content, kind, parameters, check)
    }
    await writeManifestIfDue()
    return keyframe
  }

  private func makeKeyframe(
    _ epochs: [any SealedEpoch], _ content: (any SealedEpoch)?, _ kind: KeyframeKind,
    _ parameters: KeyframeParameters, _ check: LayerCheck?
  ) async throws -> Keyframe {
    let covered = try coveredEpochs(epochs.map(\.number))
    try await checkOwnership(now: true)
    if kind == .complete { try await mergeLayersNow() }
    let number = takeNumber()
    let build = LayerBuild(
      line: description.id, number: number, directory: environment.spoolDirectory,
      fileSystem: environment.fileSystem)
    let sources = content.map { [$0] } ?? epochs
    let layer = try await spool { try build.build(sources, covering: covered, check: check) }
    try await put(layer)
    let groups =
      switch kind {
      case .partial: groups
      case .complete: adding(layer.reference, redoLSN: parameters.redoLSN)
      case .standalone: try await joining(layer.reference, redoLSN: parameters.redoLSN)
      }
    let keyframe = Keyframe(
      line: description.id, number: number, timeline: parameters.timeline,
      checkpointLSN: parameters.checkpointLSN, redoLSN: parameters.redoLSN,
      consistentLSN: parameters.consistentLSN, createdAt: environment.now(),
      systemIdentifier: parameters.systemIdentifier,
      postgresVersion: parameters.postgresVersion,
      partial: kind == .partial ? layer.reference : nil, groups: groups)
    try await checkOwnership()
    try await put(keyframe.key, .bytes(keyframe.encodedObject()), "put keyframe")
    self.groups = groups
    if kind == .standalone { baseGroupCount = 0 }
    if kind != .partial { hot = HotBlocks() }
    record(keyframe)
    return keyframe
  }

  /// Layers on top of the base that this line may add to and merge, newest first.
  private var ownLayers: [LayerReference] {
    groups.count > baseGroupCount ? groups[0].layers : []
  }

  /// Whether a complete layer can be added before others are merged.
  public var hasRoomForLayer: Bool { ownLayers.count < ownLayerLimit }

  /// Leaves room for the base and for a partial layer; see ``LayerStack/maximumOwnLayers``.
  private var ownLayerLimit: Int {
    let base = groups.suffix(baseGroupCount).reduce(0) { $0 + $1.layers.count }
    return max(
      1, min(LayerStack.maximumOwnLayers, LayerStack.maximumLayers - 1 - base))
  }

  /// The groups with one more complete layer on top.
  private func adding(_ layer: LayerReference, redoLSN: LSN) -> [LayerGroup] {
    let own = LayerGroup(layers: [layer] + ownLayers, redoLSN: redoLSN)
    return [own] + groups.suffix(baseGroupCount)
  }

  /// One group of the layer, what lies below it on this line, and the base's layers: as few as a line
  /// without a base has.
  private func joining(
    _ layer: LayerReference, redoLSN: LSN
  ) async throws -> [LayerGroup] {
    var layers = [layer] + ownLayers + Array(groups.suffix(baseGroupCount)).layers
    let policy = LayerMergePolicy(limit: LayerStack.maximumOwnLayers)
    if let count = policy.plan(layers.map(\.storedBytes)) {
      layers.replaceSubrange(
        ..<count,
        with: [try await merge(Array(layers[..<count]), as: takeNumber())])
    }
    return [LayerGroup(layers: layers, redoLSN: redoLSN)]
  }

  private func coveredEpochs(_ numbers: [UInt64]) throws -> ClosedRange<UInt64> {
    let expected = (0..<UInt64(numbers.count)).map { nextVolumeEpoch + $0 }
    guard let first = numbers.first, let last = numbers.last, numbers == expected else {
      throw HistoryError(
        .notContiguous, operation: "append keyframe to", key: keys.description.name,
        detail: "epochs \(numbers), where \(nextVolumeEpoch) comes next")
    }
    return first...last
  }

  private func spool(
    _ build: @escaping @Sendable () throws -> SpooledLayer
  ) async throws -> SpooledLayer {
    do {
      return try await environment.threads.run(build)
    } catch let error as FileError {
      throw HistoryError(
        .localFile, operation: "build layer of", key: keys.description.name, cause: error)
    }
  }

  /// Puts a spooled layer's objects, and removes its files in any case.
  private func put(_ layer: SpooledLayer) async throws {
    do {
      for (index, path) in layer.paths.enumerated() {
        try await put(layer.reference.key(ofObject: index), .file(path: path), "put layer")
      }
    } catch {
      // The put's error is the one to report; leftovers only take space in the spool.
      try? await removeFiles(of: layer)
      throw error
    }
    try await removeFiles(of: layer)
  }

  private func removeFiles(of layer: SpooledLayer) async throws {
    let fileSystem = environment.fileSystem
    do {
      try await environment.threads.run { try layer.removeFiles(fileSystem) }
    } catch {
      throw HistoryError(
        .localFile, operation: "remove spooled layer of", key: keys.description.name,
        cause: error)
    }
  }

  // MARK: Merging

  /// Merges the newest layers where the policy asks for it; the next keyframe refers to the
  /// result, older ones go on with what they have.
  ///
  /// Call after a keyframe, beside other work: it reads and writes as much as it merges. Keyframes are appended
  /// meanwhile.
  /// - Returns: whether something was merged.
  /// - Throws: `CancellationError` where the task is cancelled; as ``appendKeyframe(from:_:kind:content:check:)``.
  @discardableResult
  public func mergeLayers() async throws -> Bool {
    try await layerMergeGate.run {
      guard let (merged, number) = await self.beginMerge() else { return false }
      do {
        let layer = try await self.merge(merged, as: number)
        return try await self.layerGate.run { await self.replace(merged, by: layer) }
      } catch {
        await self.settleReserved(number)
        throw error
      }
    }
  }

  private func beginMerge() -> (layers: [LayerReference], number: ObjectNumber)? {
    guard let count = mergePlan() else { return nil }
    return (Array(ownLayers[..<count]), reserveNumber())
  }

  /// Takes a layer for those of which it was made; not where others have taken their place meanwhile.
  private func replace(_ merged: [LayerReference], by layer: LayerReference) -> Bool {
    settleReserved(layer.number)
    guard let first = ownLayers.firstIndex(of: merged[0]),
      ownLayers[first...].prefix(merged.count).elementsEqual(merged)
    else { return false }
    groups[0].layers.replaceSubrange(first..<first + merged.count, with: [layer])
    return true
  }

  /// Leaves room for the keyframe that comes next.
  private func mergePlan() -> Int? {
    // Only where there is no room: layers of a busy line are alike in size, and what is merged is kept
    // beside its sources as long as an older keyframe needs them.
    guard ownLayers.count >= ownLayerLimit else { return nil }
    let limit = max(1, ownLayerLimit - 1)
    return LayerMergePolicy(limit: limit).plan(ownLayers.map(\.storedBytes))
  }

  private func mergeLayersNow() async throws {
    guard let count = mergePlan() else { return }
    let layer = try await merge(Array(ownLayers[..<count]), as: takeNumber())
    groups[0].layers.replaceSubrange(..<count, with: [layer])
  }

  /// Makes one layer of several, newest first, and stores it.
  private func merge(
    _ merged: [LayerReference], as number: ObjectNumber
  ) async throws -> LayerReference {
    let own = merged.filter { $0.line == description.id }.map(\.epochs)
    // The newest layers are this line's own, or the keyframe's that it began with.
    let epochs = own.reduce(own.first ?? 0...0) {
      min($0.lowerBound, $1.lowerBound)...max($0.upperBound, $1.upperBound)
    }
    let isCancelled = Mutex(false)
    let merge = LayerMerge(
      line: description.id, number: number, directory: environment.spoolDirectory,
      fileSystem: environment.fileSystem, isCancelled: { isCancelled.withLock { $0 } })
    let storage = environment.layerStorage
    let layer = try await withTaskCancellationHandler {
      try await spool { try merge.merge(merged, epochs: epochs, storage: storage) }
    } onCancel: {
      isCancelled.withLock { $0 = true }
    }
    try await checkOwnership(now: true)
    try await put(layer)
    return layer.reference
  }
}
