import APITypes
import Catalog
import Crypto
import Foundation

/// Who calls: an account and the key it came with.
public struct Caller: Sendable {
  public var account: AccountRecord
  public var key: APIKeyRecord
}

/// Accounts and their API keys.
public struct AccountService: Sendable {
  let core: Core

  static let keyPrefix = "exzo_"
  static let defaultPlan = "free"
  /// Uses of a key are noted at most this often; seconds.
  private static let touchInterval: TimeInterval = 60

  /// What this version ships with; the operator's own plans come beside them.
  static func plans(at now: Date) -> [PlanRecord] {
    [
      PlanRecord(
        name: "free", projectsLimit: 10, branchesLimit: 50, retentionSecondsMaximum: 604_800,
        computeUnitsMaximum: 2, createdAt: now),
      PlanRecord(
        name: "pro", projectsLimit: 1000, branchesLimit: 5000, retentionSecondsMaximum: 2_592_000,
        computeUnitsMaximum: 16, createdAt: now),
    ]
  }

  /// Makes plans and the administrator's account on first start.
  /// - Returns: the administrator's new API key, the first time; `nil` later.
  public func bootstrap() async throws -> String? {
    let now = core.clock.now
    let key = newKey()
    return try await core.catalog.write { tx in
      for plan in Self.plans(at: now) where try tx.plan(plan.name) == nil { try tx.insert(plan) }
      guard try tx.firstAdministrator() == nil else { return nil }
      let account = try tx.insert(
        AccountRecord(
          id: AccountID(core.random.uuid()), plan: "pro", name: "admin",
          email: "admin@localhost.local",
          isAdmin: true, createdAt: now))
      try tx.insert(self.keyRow(key, "admin", account, try tx.nextAPIKeyID()))
      return key
    }
  }

  /// The administrator's key on a recovered machine, beside the keys that came back.
  func insertRecovered(_ key: String, _ tx: CatalogTransaction) throws {
    guard let account = try tx.firstAdministrator() else { return }
    try tx.insert(keyRow(key, "admin (recovered)", account, try tx.nextAPIKeyID()))
  }

  func newKey() -> String { Self.keyPrefix + core.random.text(48) }

  private func keyRow(_ key: String, _ name: String, _ account: AccountRecord, _ id: Int)
    -> APIKeyRecord
  {
    APIKeyRecord(
      id: id, accountID: account.id, plan: account.plan, name: name,
      hash: SealedBytes(Self.hash(key)), createdAt: core.clock.now, lastUsedFrom: "")
  }

  private static func hash(_ key: String) -> [UInt8] { Array(SHA256.hash(data: Array(key.utf8))) }

  /// The caller that `key` belongs to; `nil` for any other text.
  ///
  /// Keys are random and looked up by their hash, so that how long it takes tells nothing of a
  /// stored key.
  public func authenticate(_ key: String, from address: String) async throws -> Caller? {
    guard key.utf8.count <= 256 else { return nil }
    let hash = Self.hash(key)
    let now = core.clock.now
    let caller = try await core.catalog.read { tx -> Caller? in
      guard let row = try tx.apiKey(hash: hash), row.revokedAt == nil,
        Self.isEqual(row.hash.bytes, hash), let account = try tx.account(row.accountID)
      else { return nil }
      return Caller(account: account, key: row)
    }
    if let caller, now.timeIntervalSince(caller.key.lastUsedAt ?? .distantPast) > Self.touchInterval
    {
      do {
        try await core.catalog.write { try $0.touchAPIKey(caller.key.id, at: now, from: address) }
      } catch let error as CatalogError where error.code == .diskFull {
        // Reading goes on without it; what writes is refused, and `/readyz` tells.
        core.logger.debug("a key's last use was not noted", metadata: ["error": "\(error)"])
      }
    }
    return caller
  }

  /// Compares without stopping at the first difference.
  private static func isEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.count == b.count && zip(a, b).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
  }

  public func createKey(_ name: String, for account: AccountRecord) async throws -> API.CreatedKey {
    try SettingsRules.name("key_name", name, maximum: 64)
    return try await core.catalog.write { tx in try self.insertKey(name, for: account, tx) }
  }

  func insertKey(
    _ name: String, for account: AccountRecord, _ tx: CatalogTransaction
  ) throws -> API.CreatedKey {
    let key = newKey()
    let row = try tx.insert(keyRow(key, name, account, try tx.nextAPIKeyID()))
    return API.CreatedKey(
      id: row.id, key: key, name: name, createdAt: row.createdAt, createdBy: account.id.rawValue)
  }

  public func keys(of account: AccountRecord) async throws -> [API.Key] {
    try await core.catalog.read { try $0.apiKeys(of: account.id) }.map { row in
      API.Key(
        id: row.id, name: row.name, createdAt: row.createdAt,
        createdBy: API.KeyCreator(id: account.id.rawValue, name: account.name, image: ""),
        lastUsedAt: row.lastUsedAt, lastUsedFromAddr: row.lastUsedFrom)
    }
  }

  /// Revoking a revoked key answers as the first time.
  public func revokeKey(_ id: Int, of account: AccountRecord) async throws -> API.RevokedKey {
    try await core.catalog.write { tx in
      guard var row = try tx.apiKey(id, of: account.id) else {
        throw ControlPlaneError(.apiKeyNotFound, "revoke API key \(id): there is none")
      }
      if row.revokedAt == nil {
        row.revokedAt = core.clock.now
        try tx.update(row)
      }
      return API.RevokedKey(
        id: row.id, name: row.name, createdAt: row.createdAt, createdBy: account.id.rawValue,
        lastUsedAt: row.lastUsedAt, lastUsedFromAddr: row.lastUsedFrom, revoked: true)
    }
  }

  public func me(_ account: AccountRecord) async throws -> API.CurrentUser {
    guard let plan = try await core.catalog.read({ try $0.plan(account.plan) }) else {
      throw ControlPlaneError(.unauthorized, "show account: its plan is gone")
    }
    return API.CurrentUser(
      activeSecondsLimit: plan.computeSecondsLimit ?? 0,
      billingAccount: API.BillingAccount(
        quotaResetAtLast: BillingPeriod(holding: core.clock.now).start, name: account.name,
        email: account.email), authAccounts: [], email: account.email,
      id: account.id.rawValue, image: "", login: account.name, name: account.name, lastName: "",
      projectsLimit: plan.projectsLimit, branchesLimit: plan.branchesLimit,
      maxAutoscalingLimit: plan.computeUnitsMaximum, computeSecondsLimit: plan.computeSecondsLimit,
      plan: plan.name)
  }
}
