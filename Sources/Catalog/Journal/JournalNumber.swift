import ObjectStorage

/// The place of an object in the catalog's journal: the epoch of the installation that wrote it, then
/// a count. Later objects have higher numbers, and keys sort in this order.
public struct JournalNumber: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var epoch: UInt32
  /// Below 2^48.
  public var sequence: UInt64

  /// Before all objects.
  static let zero = JournalNumber(epoch: 0, sequence: 0)

  init(epoch: UInt32, sequence: UInt64) {
    self.epoch = epoch
    self.sequence = sequence
  }

  public static func < (a: JournalNumber, b: JournalNumber) -> Bool {
    (a.epoch, a.sequence) < (b.epoch, b.sequence)
  }

  /// `<epoch, 8 hexadecimal digits>-<sequence, 12>`.
  public var description: String { hexadecimal(UInt64(epoch), 8) + "-" + hexadecimal(sequence, 12) }

  init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].utf8.count == 8, parts[1].utf8.count == 12,
      let epoch = UInt32(parts[0], radix: 16), let sequence = UInt64(parts[1], radix: 16)
    else { return nil }
    self.init(epoch: epoch, sequence: sequence)
  }
}

/// Lower-case digits of a number, at least `width` of them.
func hexadecimal(_ value: UInt64, _ width: Int) -> String {
  let digits = String(value, radix: 16)
  return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

/// Where the catalog lies in the object store: docs/formats/catalog-journal.md.
enum JournalKeys {
  static let basePrefix = "catalog/base/"
  static let changesPrefix = "catalog/changes/"
  static let ownersPrefix = "catalog/owners/"

  static func base(_ number: JournalNumber) -> ObjectKey { ObjectKey(basePrefix + "\(number)") }
  static func changes(_ number: JournalNumber) -> ObjectKey {
    ObjectKey(changesPrefix + "\(number)")
  }
  static func owner(_ claim: InstallationClaim) -> ObjectKey {
    ObjectKey(
      ownersPrefix + hexadecimal(UInt64(claim.epoch), 8) + "-"
        + hexadecimal(UInt64(claim.token), 8))
  }

  /// All objects of a kind, in order of their numbers.
  static func list(
    _ prefix: String, _ store: any ObjectStore
  ) async throws -> [(key: ObjectKey, number: JournalNumber)] {
    var found: [(ObjectKey, JournalNumber)] = []
    try await store.listAll(prefix: prefix) { listing in
      if let number = JournalNumber(listing.key.name.dropFirst(prefix.count)) {
        found.append((listing.key, number))
      }
    }
    return found.map { (key: $0.0, number: $0.1) }
  }
}
