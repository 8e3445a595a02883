import ObjectStorage

/// Where a line's objects are.
struct LineKeys: Sendable {
  static let allLines = "lines/"
  let line: LineID
  private var root: String { "lines/\(line)/" }

  /// A key just after all of the line's keys.
  var end: ObjectKey { ObjectKey("lines/\(line)0") }
  var description: ObjectKey { ObjectKey(root + "line") }
  var walPrefix: String { root + "wal/" }
  var keyframePrefix: String { root + "keyframes/" }
  var manifestPrefix: String { root + "manifest/" }
  var ownerPrefix: String { root + "owner/" }
  var layerPrefix: String { root + "layers/" }
  var evictionsPrefix: String { root + "evicted/" }
  /// All of the line's keys begin with it.
  var prefix: String { root }

  func wal(_ number: ObjectNumber) -> ObjectKey { ObjectKey(walPrefix + number.description) }
  func keyframe(_ number: ObjectNumber) -> ObjectKey {
    ObjectKey(keyframePrefix + number.description)
  }
  func manifest(_ number: ObjectNumber) -> ObjectKey {
    ObjectKey(manifestPrefix + number.description)
  }
  func owner(epoch: UInt32, token: UInt32) -> ObjectKey {
    ObjectKey(
      ownerPrefix + ObjectNumber.digits(UInt64(epoch), width: 8) + "-"
        + ObjectNumber.digits(UInt64(token), width: 8))
  }
  func evictions(_ sequence: UInt64, token: UInt32) -> ObjectKey {
    ObjectKey(
      evictionsPrefix + ObjectNumber.digits(sequence, width: 12) + "-"
        + ObjectNumber.digits(UInt64(token), width: 8))
  }
  func layer(_ number: ObjectNumber, part: Int) -> ObjectKey {
    ObjectKey(layerPrefix + number.description + "-" + ObjectNumber.digits(UInt64(part), width: 4))
  }

  /// The number of the layer that a key of this line belongs to.
  func layerNumber(in key: ObjectKey) -> ObjectNumber? {
    guard key.name.hasPrefix(layerPrefix) else { return nil }
    return ObjectNumber(key.name.dropFirst(layerPrefix.count).dropLast(5))
  }

  /// The number in a key of this line, where it begins with `prefix` and ends with a number.
  static func number(in key: ObjectKey, prefix: String) -> ObjectNumber? {
    guard key.name.hasPrefix(prefix) else { return nil }
    return ObjectNumber(key.name.dropFirst(prefix.count))
  }
}
