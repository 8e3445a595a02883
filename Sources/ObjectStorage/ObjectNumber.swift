/// The place of an object among those of one owner after another: the epoch of the writer, then a count
/// within it.
///
/// A writer counts up within its epoch and takes a higher epoch than any before it, so a later object
/// always has a higher number; keys sort in this order. Lines and the catalog's journal are numbered so.
public struct ObjectNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var epoch: UInt32
  /// Below 2^48.
  public var sequence: UInt64

  /// Before all objects.
  public static let zero = ObjectNumber(epoch: 0, sequence: 0)

  public init(epoch: UInt32, sequence: UInt64) {
    self.epoch = epoch
    self.sequence = sequence
  }

  public static func < (a: ObjectNumber, b: ObjectNumber) -> Bool {
    (a.epoch, a.sequence) < (b.epoch, b.sequence)
  }

  /// `<epoch, 8 hexadecimal digits>-<sequence, 12>`.
  public var description: String {
    Self.digits(UInt64(epoch), width: 8) + "-" + Self.digits(sequence, width: 12)
  }

  /// A number in the form of ``description``; `nil` for any other text.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].utf8.count == 8, parts[1].utf8.count == 12,
      let epoch = UInt32(parts[0], radix: 16), let sequence = UInt64(parts[1], radix: 16)
    else { return nil }
    self.init(epoch: epoch, sequence: sequence)
  }

  /// Lower-case hexadecimal digits of a number, at least `width` of them, as keys have them.
  public static func digits(_ value: UInt64, width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}
