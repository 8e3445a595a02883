import ObjectStorage
import PostgresFormat

/// Finds the objects of a line that nothing refers to any more; pure.
///
/// Whatever a crash left behind, of a writer or a collector, is found again by the next sweep.
struct LineSweep: Sendable {
  var contents: LineContents
  /// Layers that some line needs, or that a keyframe of ``unknownKeyframes(_:)`` names.
  var neededLayers: Set<LayerName>
  var now: PostgresTimestamp
  /// Age of a take-over before layers that a writer before it left in the making count as left behind.
  var grace: Duration
  /// Objects that no manifest listed when they were first seen, that long ago.
  var longUnlisted: Set<ObjectKey> = []
  /// All that wait, however long; none where that does not matter.
  var waiting: Set<ObjectKey> = []
  /// Whether a branch points to the line: then its writer may be making layers for as long as it likes, and alone
  /// says which chunks and keyframes are part of it.
  var isRunning = true
  /// Whether one of ``unknownKeyframes(_:)`` cannot be read: it may refer to any layer.
  var hasUnreadableKeyframe = false

  /// A layer, whatever objects it is made of.
  struct LayerName: Hashable, Sendable {
    var line: LineID
    var number: ObjectNumber
  }

  /// The objects to delete, in an order in which none refers to one that is gone.
  /// - Parameter listed: everything that the store holds of the line, listed after `contents` was read.
  /// - Returns: `unlisted` are objects that may be in the making: garbage if they still are unlisted later.
  func garbage(
    _ listed: [ObjectListing]
  ) -> (garbage: [ObjectListing], unlisted: Set<ObjectKey>) {
    var unlisted: Set<ObjectKey> = []
    let keys = contents.keys
    let spans = Set(contents.spans().map(\.chunk.number))
    let known = Dictionary(contents.chunks.map { ($0.number, $0) }) { $1 }
    var keyframes: [ObjectListing] = []
    var others: [ObjectListing] = []
    var evictions: [ObjectListing] = []
    let idle = idleOwners
    for object in listed {
      if let number = LineKeys.number(in: object.key, prefix: keys.keyframePrefix) {
        let isKnown = contents.keyframes.contains { $0.number == number }
        if contents.evictions.keyframe(number)?.isDropped ?? false
          || isLeft(object, number, isKnown: isKnown, contents.manifestKeyframes, &unlisted)
        {
          keyframes.append(object)
        }
      } else if let number = LineKeys.number(in: object.key, prefix: keys.walPrefix) {
        let isGarbage =
          if let chunk = known[number] {
            !spans.contains(number) && isReplaced(chunk, object.key, &unlisted)
          } else {
            isLeft(object, number, isKnown: false, contents.manifestChunks, &unlisted)
          }
        if isGarbage { others.append(object) }
      } else if let number = keys.layerNumber(in: object.key) {
        if isGarbage(layer: number, object.key, &unlisted) { others.append(object) }
      } else if object.key.name.hasPrefix(keys.evictionsPrefix) {
        evictions.append(object)
      } else if idle.contains(object.key) {
        others.append(object)
      }
    }
    let result = keyframes + others + evictions.dropLast(LineEvictions.keptCount)
    return (result, unlisted)
  }

  /// Keyframes that are there and that `contents` does not have, such as one whose put its writer took for failed.
  /// While they are there, whoever chose one when it could be seen reads its layers.
  func unknownKeyframes(_ listed: [ObjectListing]) -> [ObjectKey] {
    let known = Set(contents.keyframes.map(\.number))
    return listed.map(\.key).filter { key in
      guard let number = LineKeys.number(in: key, prefix: contents.keys.keyframePrefix),
        !known.contains(number), contents.damages[key.name] == nil
      else { return false }
      return !(contents.evictions.keyframe(number)?.isDropped ?? false)
    }
  }

  /// Whether an object was left behind: a manifest of the present writer covers its number and does not list it.
  /// That writer never lists it again, and who read an older manifest has had ``grace`` to look anew.
  ///
  /// What a former writer's manifest says is not enough while a writer may be there: it may have become visible
  /// after the present one looked, which then still counts on what that manifest had replaced. What had begun to wait
  /// before the present one took over goes on waiting: else a line that wakes often would keep it for good.
  private func isLeft(
    _ object: ObjectListing, _ number: ObjectNumber, isKnown: Bool, _ last: ObjectNumber,
    _ unlisted: inout Set<ObjectKey>
  ) -> Bool {
    guard !isKnown, number <= last, contents.damages[object.key.name] == nil else { return false }
    if isRunning, contents.manifest?.epoch != contents.owners.last?.epoch {
      if waiting.contains(object.key) { unlisted.insert(object.key) }
      return false
    }
    unlisted.insert(object.key)
    return longUnlisted.contains(object.key)
  }

  /// Whether a chunk goes that counts no more: one that was evicted or cut off at once. One that was merged stays
  /// until a manifest says so, however long that takes, and is then one that was left: the line's writer may not
  /// know of the other chunk, whose put it took for failed or which became visible after it had begun, and go on
  /// with this one.
  private func isReplaced(
    _ chunk: WALChunkReference, _ key: ObjectKey, _ unlisted: inout Set<ObjectKey>
  ) -> Bool {
    let end = min(chunk.endLSN, contents.limit(of: chunk.number.epoch))
    if chunk.startLSN >= end || contents.evictions.contains(chunk.startLSN..<end) { return true }
    if isRunning { return false }
    unlisted.insert(key)
    return longUnlisted.contains(key)
  }

  /// Claims of former writers that cut nothing off: whatever counts without them counts with them. Each wake of
  /// a line leaves one, and every reader reads them all.
  private var idleOwners: Set<ObjectKey> {
    var result: Set<ObjectKey> = []
    for owner in contents.owners.dropLast() where now.since(owner.createdAt) >= grace {
      let cuts =
        contents.chunks.contains {
          $0.number.epoch < owner.epoch && $0.endLSN > owner.takeoverLSN
        }
        || contents.keyframes.contains {
          $0.number.epoch < owner.epoch && $0.consistentLSN > owner.takeoverLSN
        }
      // What cannot be read may reach further than the claim.
      if cuts || !contents.damages.isEmpty { continue }
      result.insert(contents.keys.owner(epoch: owner.epoch, token: owner.token))
    }
    return result
  }

  private func isOfFormerWriter(_ number: ObjectNumber) -> Bool {
    guard let owner = contents.owners.last, number.epoch < owner.epoch else { return false }
    return now.since(owner.createdAt) >= grace
  }

  private func isGarbage(
    layer number: ObjectNumber, _ key: ObjectKey, _ unlisted: inout Set<ObjectKey>
  ) -> Bool {
    let isNeeded = neededLayers.contains(LayerName(line: contents.line, number: number))
    if isNeeded || hasUnreadableKeyframe { return false }
    // A keyframe that cannot be read may refer to anything.
    let prefix = contents.keys.keyframePrefix
    if contents.damages.contains(where: { $0.key.hasPrefix(prefix) && $0.value.code != .missing }) {
      return false
    }
    // A writer's newest keyframe refers to all that it goes on with, but for what it is making.
    let dropped = contents.evictions.keyframes.last?.number
    let newest = max(contents.lastKeyframe, dropped ?? contents.lastKeyframe)
    if number <= newest { return true }
    if !isRunning { unlisted.insert(key) }
    return isOfFormerWriter(number) || longUnlisted.contains(key)
  }

  /// All objects of a line that nobody needs, its description last.
  static func removal(of line: LineID, _ listed: [ObjectListing]) -> [ObjectListing] {
    let keys = LineKeys(line: line)
    func rank(_ key: ObjectKey) -> Int {
      if key == keys.description { return 3 }
      if key.name.hasPrefix(keys.ownerPrefix) { return 2 }
      return key.name.hasPrefix(keys.keyframePrefix) ? 0 : 1
    }
    return listed.sorted { (rank($0.key), $0.key) < (rank($1.key), $1.key) }
  }
}

extension RetentionForest {
  /// Layers that lines read from, or may.
  func neededLayers(_ needs: RetentionNeeds) -> Set<LineSweep.LayerName> {
    var result: Set<LineSweep.LayerName> = []
    for (line, contents) in lines where needs.living.contains(line) {
      var layers = contents.keyframes
        .filter { !(contents.evictions.keyframe($0.number)?.isDropped ?? false) }
        .flatMap(\.layers)
      if needs.running.contains(line) || needs.untouched.contains(line) {
        layers += contents.volumeBase
      }
      if needs.untouched.contains(line) {
        layers += contents.description.parent?.base.layers ?? []
      }
      for layer in layers { result.insert(.init(line: layer.line, number: layer.number)) }
    }
    return result
  }
}
