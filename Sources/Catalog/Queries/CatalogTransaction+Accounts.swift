import Foundation
import PostgresClient

extension CatalogTransaction {
  public func account(_ id: AccountID) throws -> AccountRecord? {
    try first(where: "t.id = $1", .text(id.rawValue))
  }

  /// The account that was made when the installation was.
  public func firstAdministrator() throws -> AccountRecord? {
    try first(where: "t.is_admin ORDER BY t.created_at, t.id LIMIT 1")
  }

  public func plan(_ name: String) throws -> PlanRecord? {
    try first(where: "t.name = $1", .text(name))
  }

  /// The next free API key id.
  public func nextAPIKeyID() throws -> Int { try number("SELECT nextval('exzo.api_key_ids')") }

  /// The key whose SHA-256 is `hash`, revoked or not.
  public func apiKey(hash: [UInt8]) throws -> APIKeyRecord? {
    try first(where: "t.hash = $1", .bytes(hash))
  }

  public func apiKey(_ id: Int, of account: AccountID) throws -> APIKeyRecord? {
    try first(where: "t.id = $1 AND t.account_id = $2", .init(id), .text(account.rawValue))
  }

  /// The account's keys that work, oldest first.
  public func apiKeys(of account: AccountID) throws -> [APIKeyRecord] {
    try select(
      where: "t.account_id = $1 AND t.revoked_at IS NULL ORDER BY t.id", .text(account.rawValue))
  }

  /// Notes that a key was used.
  public func touchAPIKey(_ id: Int, at date: Date, from address: String) throws {
    try run(
      """
      UPDATE exzo.api_keys SET last_used_at = $2::timestamptz, last_used_from = $3 WHERE id = $1
      """, .init(id), .init(date), .text(address))
  }

  public func projectCount(of account: AccountID) throws -> Int {
    try number(
      "SELECT count(*) FROM exzo.projects WHERE account_id = $1 AND deleted_at IS NULL",
      .text(account.rawValue))
  }
}
