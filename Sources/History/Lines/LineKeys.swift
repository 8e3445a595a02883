import ObjectStorage

/// The number of an object among those of its kind on a line: the writer's epoch, then a sequence.
///
/// A writer counts up within its epoch and takes a higher epoch than any before it, so a later
/// object always has a higher number; keys sort in this order.
public struct ObjectNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var epoch: UInt32
  /// Below 2^48.
  public var sequence: UInt64

  public init(epoch: UInt32, sequence: UInt64) {
    self.epoch = epoch
    self.sequence = sequence
  }

  public static func < (a: ObjectNumber, b: ObjectNumber) -> Bool {
    (a.epoch, a.sequence) < (b.epoch, b.sequence)
  }

  /// `<epoch, 8 hexadecimal digits>-<sequence, 12>`.
  public var description: String { padded(UInt64(epoch), 8) + "-" + padded(sequence, 12) }

  init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].utf8.count == 8, parts[1].utf8.count == 12,
      let epoch = UInt32(parts[0], radix: 16), let sequence = UInt64(parts[1], radix: 16)
    else { return nil }
    self.init(epoch: epoch, sequence: sequence)
  }
}

/// Lower-case hexadecimal digits of a number, at least `width` of them.
func padded(_ value: UInt64, _ width: Int) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

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
    ObjectKey(ownerPrefix + padded(UInt64(epoch), 8) + "-" + padded(UInt64(token), 8))
  }
  func evictions(_ sequence: UInt64, token: UInt32) -> ObjectKey {
    ObjectKey(evictionsPrefix + padded(sequence, 12) + "-" + padded(UInt64(token), 8))
  }
  func layer(_ number: ObjectNumber, part: Int) -> ObjectKey {
    ObjectKey(layerPrefix + number.description + "-" + padded(UInt64(part), 4))
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
