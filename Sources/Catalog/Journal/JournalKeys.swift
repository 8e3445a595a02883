import ObjectStorage

/// Where the catalog lies in the object store: docs/formats/catalog-journal.md.
enum JournalKeys {
  static let basePrefix = "catalog/base/"
  static let changesPrefix = "catalog/changes/"
  static let ownersPrefix = "catalog/owners/"

  static func base(_ number: ObjectNumber) -> ObjectKey { ObjectKey(basePrefix + "\(number)") }
  static func changes(_ number: ObjectNumber) -> ObjectKey {
    ObjectKey(changesPrefix + "\(number)")
  }
  static func owner(_ claim: InstallationClaim) -> ObjectKey {
    ObjectKey(
      ownersPrefix + ObjectNumber.digits(UInt64(claim.epoch), width: 8) + "-"
        + ObjectNumber.digits(UInt64(claim.token), width: 8))
  }

  /// All objects of a kind, in order of their numbers.
  static func list(
    _ prefix: String, _ store: any ObjectStore
  ) async throws -> [(key: ObjectKey, number: ObjectNumber)] {
    var found: [(ObjectKey, ObjectNumber)] = []
    try await store.listAll(prefix: prefix) { listing in
      if let number = ObjectNumber(listing.key.name.dropFirst(prefix.count)) {
        found.append((listing.key, number))
      }
    }
    return found.map { (key: $0.0, number: $0.1) }
  }
}
