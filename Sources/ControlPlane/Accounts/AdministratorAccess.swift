import Catalog
import Crypto
import Foundation

/// The way back in for an operator who has lost every key: a new one for the administrator's account,
/// made by whoever may open the metadata database.
///
/// It asks for no key, since there is none to ask for: being able to open the database is the proof.
public struct AdministratorAccess: Sendable {
  private let catalog: Catalog
  private let clock: any WallClock
  private let random: Randomness

  public init(
    catalog: Catalog, clock: any WallClock = SystemWallClock(), random: Randomness = Randomness()
  ) {
    self.catalog = catalog
    self.clock = clock
    self.random = random
  }

  /// Makes a key and returns it; durable on return.
  /// - Parameter revokesOthers: the administrator's other keys, and the Console's sessions that they
  ///   began, end with this.
  /// - Throws: ``ControlPlaneError`` `.accountNotFound` where serve has never started.
  public func newKey(revokesOthers: Bool) async throws -> String {
    let key = AccountService.keyPrefix + random.text(48)
    let now = clock.now
    try await catalog.write { tx in
      guard let account = try tx.firstAdministrator() else {
        throw ControlPlaneError(
          .accountNotFound, "make a key for the administrator: there is no account yet",
          hint: "start 'exzo serve' once: it makes the account and its key")
      }
      if revokesOthers {
        for var other in try tx.apiKeys(of: account.id) where other.revokedAt == nil {
          other.revokedAt = now
          try tx.update(other)
        }
      }
      try tx.insert(
        APIKeyRecord(
          id: try tx.nextAPIKeyID(), accountID: account.id, plan: account.plan,
          name: "admin (reset)", hash: SealedBytes(Array(SHA256.hash(data: Array(key.utf8)))),
          createdAt: now, lastUsedFrom: ""))
    }
    return key
  }
}
