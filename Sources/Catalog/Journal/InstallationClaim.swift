import Foundation
import ObjectStorage

/// One installation's hold on an object store: the highest one may write the catalog there.
public struct InstallationClaim: Codable, Hashable, Comparable, Sendable {
  /// Counts take-overs and starts.
  public var epoch: UInt32
  /// Random; tells two apart that took the same epoch at the same time.
  public var token: UInt32

  public static func < (a: InstallationClaim, b: InstallationClaim) -> Bool {
    (a.epoch, a.token) < (b.epoch, b.token)
  }
}

/// What an owner says of itself in the store, for whoever is refused because of it.
public struct InstallationNotice: Codable, Hashable, Sendable {
  public var host: String
  public var dataDirectory: String
  /// `start` or `recovery`.
  public var reason: String
  /// Seconds since 1970.
  public var takenAt: Double

  public init(host: String, dataDirectory: String, reason: String, takenAt: Double) {
    self.host = host
    self.dataDirectory = dataDirectory
    self.reason = reason
    self.takenAt = takenAt
  }

  enum CodingKeys: String, CodingKey {
    case host, reason
    case dataDirectory = "data_directory"
    case takenAt = "taken_at"
  }
}

/// Takes an object store over for an installation, and tells whether another one has done so since.
///
/// ## State and invariants
/// 1. Epochs only rise. Every start of `serve` takes one of its own, so that its objects are numbered
///    apart from those that a former process may still be putting.
/// 2. A start goes on only where the highest owner is the installation itself; a recovery takes over
///    from whoever it was.
///
/// ## On disk
/// `catalog/owners/<epoch>-<token>` in the store; `DIR/store-owner` names the installation's own claims.
///
/// ## Crash
/// The claim that is about to be made is written down first, so that it is known for one's own.
public struct StoreOwnership: Sendable {
  let store: any ObjectStore
  /// `DIR/store-owner`.
  let recordPath: String

  private static let keptOwners = 8

  struct Record: Codable {
    var claims: [InstallationClaim]
    /// URL of the store, without keys.
    var store: String
    /// Whether the newest claim was seen in the store.
    var isHeld: Bool?
  }

  public init(store: any ObjectStore, recordPath: String) {
    self.store = store
    self.recordPath = recordPath
  }

  /// The store that the installation was last served from; `nil` before its first start.
  public static func recordedStore(_ path: String) throws -> String? {
    try record(path)?.store
  }

  private static func record(_ path: String) throws -> Record? {
    guard let bytes = try PrivateFile.read(path) else { return nil }
    do { return try JSONDecoder().decode(Record.self, from: Data(bytes)) } catch {
      throw CatalogError(.server, "read '\(path)': \(error)")
    }
  }

  /// Takes the store for this installation.
  ///
  /// - Parameter takesOver: goes on from whatever owner there is, instead of being refused by it.
  /// - Throws: ``CatalogError`` `.fenced` where another installation holds the store; the store's errors.
  public func claim(
    as notice: InstallationNotice, url: String, takesOver: Bool
  ) async throws -> InstallationClaim {
    let known = try Self.record(recordPath)
    let own = known?.claims ?? []
    let listed = try await owners()
    if !takesOver, listed.isEmpty, let known { try Self.checkEmpty(url, known) }
    if let highest = listed.last, highest > own.max() ?? InstallationClaim(epoch: 0, token: 0) {
      // A recovery that was interrupted goes on only where nobody has taken over meanwhile.
      guard takesOver && own.isEmpty else {
        throw try await fenced(by: highest, isKnown: !own.isEmpty)
      }
    }
    let epoch = max(listed.last?.epoch ?? 0, own.max()?.epoch ?? 0) + 1
    let claim = InstallationClaim(epoch: epoch, token: .random(in: 1 ... .max))
    try write(Record(claims: own.suffix(3) + [claim], store: url))
    try await store.put(
      JournalKeys.owner(claim), .bytes([UInt8](try JSONEncoder().encode(notice))))
    if let other = try await newer(than: claim) { throw other }
    try write(Record(claims: [claim], store: url, isHeld: true))
    let old = listed.dropLast(Self.keptOwners)
    if !old.isEmpty { try await store.delete(old.map(JournalKeys.owner)) }
    return claim
  }

  /// Whether a store without any claim may be used by who was served from one before.
  private static func checkEmpty(_ url: String, _ known: Record) throws {
    guard known.store == url else {
      throw CatalogError(
        .server,
        "use the object store '\(url)': it holds nothing of this installation, whose history lies in "
          + "'\(known.store)'\nHINT: name that one, or copy it first with 'exzo store mirror'")
    }
    guard known.isHeld != true else {
      throw CatalogError(
        .server,
        "use the object store '\(url)': it is empty, and was not when it was used last"
          + "\nHINT: see whether it is mounted, and whether the address is right. If it is lost for good, "
          + "name a copy of it with '--object-store', or recover from one into an empty --data-dir")
    }
  }

  /// The error of a claim that another installation has overtaken; `nil` where it is the highest.
  func newer(than claim: InstallationClaim) async throws -> CatalogError? {
    guard let highest = try await owners().last, highest > claim else { return nil }
    return try await fenced(by: highest, isKnown: true)
  }

  private func owners() async throws -> [InstallationClaim] {
    var found: [InstallationClaim] = []
    let prefix = JournalKeys.ownersPrefix
    try await store.listAll(prefix: prefix) { listing in
      let parts = listing.key.name.dropFirst(prefix.count).split(separator: "-")
      guard parts.count == 2, let epoch = UInt32(parts[0], radix: 16),
        let token = UInt32(parts[1], radix: 16)
      else { return }
      found.append(InstallationClaim(epoch: epoch, token: token))
    }
    return found.sorted()
  }

  private func fenced(by claim: InstallationClaim, isKnown: Bool) async throws -> CatalogError {
    let key = JournalKeys.owner(claim)
    var who = "another installation"
    // Its name only makes the message better.
    if let bytes = try? await store.get(key, range: nil),
      let notice = try? JSONDecoder().decode(InstallationNotice.self, from: Data(bytes))
    {
      let time = Date(timeIntervalSince1970: notice.takenAt).formatted(.iso8601)
      who =
        "the installation in '\(notice.dataDirectory)' on host '\(notice.host)' "
        + "(\(notice.reason), \(time))"
    }
    guard isKnown else {
      return CatalogError(
        .fenced,
        "use the object store: it holds the catalog of \(who), '\(key)'\n"
          + "HINT: bring that installation here with --recover-from, or name an empty store")
    }
    return CatalogError(
      .fenced,
      "use the object store: \(who) has taken it over, '\(key)'; this one is fenced off\n"
        + "HINT: use that one; what this one holds beyond the store is still in its data directory")
  }

  private func write(_ record: Record) throws {
    try PrivateFile.write([UInt8](try JSONEncoder().encode(record)), to: recordPath)
  }
}
