import Catalog
import Crypto
import Foundation
import Logging

/// Sessions of people who signed in to the Console with an API key.
///
/// *State and invariants*: 1. A session's text is made here, never taken from a browser, so that none
/// can be fixed beforehand. 2. It is as good as its key: with the key revoked it is nobody's. 3. The
/// catalog holds its hash only.
public struct ConsoleSessions: Sendable {
  let core: Core

  /// Without use a session ends after this; seconds.
  static let idleSeconds: TimeInterval = 12 * 3600
  /// With use, too, it ends after this; seconds.
  static let longestSeconds: TimeInterval = 7 * 86_400
  private static let touchSeconds: TimeInterval = 60

  /// Who is signed in.
  public struct Session: Sendable {
    public var caller: Caller
    /// Carried by every write request of the session's pages.
    public var formToken: String
  }

  /// Begins a session.
  /// - Returns: its text, for the browser alone, and the session; `nil` for a key that is wrong or
  ///   revoked.
  public func open(
    key: String, from address: String
  ) async throws -> (text: String, session: Session)? {
    let accounts = AccountService(core: core)
    guard let caller = try await accounts.authenticate(key, from: address) else { return nil }
    let (text, token) = (core.random.text(48), core.random.text(32))
    let now = core.clock.now
    let row = ConsoleSessionRecord(
      id: Self.hash(text), accountID: caller.account.id, plan: caller.account.plan,
      keyID: caller.key.id, formToken: token, address: address, createdAt: now, lastUsedAt: now,
      expiresAt: now.addingTimeInterval(Self.idleSeconds))
    try await core.catalog.write { tx in
      try tx.expireConsoleSessions(at: now)
      try tx.insert(row)
    }
    return (text, Session(caller: caller, formToken: token))
  }

  /// The session that `text` names; `nil` where it is over or its key was revoked.
  public func find(_ text: String) async throws -> Session? {
    guard (1...128).contains(text.utf8.count) else { return nil }
    let (id, now) = (Self.hash(text), core.clock.now)
    let found = try await core.catalog.read { tx -> (ConsoleSessionRecord, Session)? in
      guard let row = try tx.consoleSession(id), row.expiresAt > now,
        let key = try tx.apiKey(row.keyID, of: row.accountID), key.revokedAt == nil,
        let account = try tx.account(row.accountID)
      else { return nil }
      let caller = Caller(account: account, key: key)
      return (row, Session(caller: caller, formToken: row.formToken))
    }
    guard let (row, session) = found else { return nil }
    if now.timeIntervalSince(row.lastUsedAt) > Self.touchSeconds {
      var used = row
      used.lastUsedAt = now
      used.expiresAt = min(
        now.addingTimeInterval(Self.idleSeconds),
        row.createdAt.addingTimeInterval(Self.longestSeconds))
      let record = used
      do {
        try await core.catalog.write { try $0.update(record) }
      } catch let error as CatalogError where error.code == .diskFull {
        // Pages are shown without it; what writes is refused, and `/readyz` tells.
        core.logger.debug("a session's last use was not noted", metadata: ["error": "\(error)"])
      }
    }
    return session
  }

  /// Ends a session; one that is not there is no error.
  public func close(_ text: String) async throws {
    try await core.catalog.write { try $0.deleteConsoleSession(Self.hash(text)) }
  }

  /// Text that differs from an earlier answer when something of the project changed.
  public func changeMark(of project: ProjectID, account: AccountID) async throws -> String {
    try await core.catalog.read { tx in
      try tx.changeMark(of: try core.project(tx, project, of: account).id)
    }
  }

  private static func hash(_ text: String) -> String {
    SHA256.hash(data: Array(text.utf8)).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
      .joined()
  }
}
