import Foundation
import PostgresClient

extension CatalogTransaction {
  /// A project of `account` or shared with it, deleted or not.
  public func project(_ id: ProjectID, of account: AccountID) throws -> ProjectRecord? {
    try first(
      where: "t.id = $1 AND \(Self.isVisible(to: "$2"))", .text(id.rawValue),
      .text(account.rawValue))
  }

  /// Any project, for the platform's own work.
  public func project(_ id: ProjectID) throws -> ProjectRecord? {
    try first(where: "t.id = $1", .text(id.rawValue))
  }

  /// Takes the project's row lock: writes to one project go one after the other.
  public func lockProject(_ id: ProjectID, of account: AccountID) throws -> ProjectRecord? {
    try first(
      where: "t.id = $1 AND \(Self.isVisible(to: "$2")) FOR UPDATE", .text(id.rawValue),
      .text(account.rawValue))
  }

  /// The account's projects, newest first.
  /// - Parameter deletedSince: those that were deleted after this, in place of those that are there.
  public func projects(
    of account: AccountID, search: String?, deletedSince: Date? = nil, _ page: PageRequest
  ) throws -> Page<ProjectRecord> {
    var condition = "t.account_id = $1 AND (t.name ILIKE $2 OR t.id ILIKE $2)"
    var values: [PostgresValue?] = [
      .text(account.rawValue), .text(Self.pattern(search ?? "")),
    ]
    if let deletedSince {
      condition += " AND t.deleted_at > $3::timestamptz"
      values.append(PostgresValue(deletedSince))
    } else {
      condition += " AND t.deleted_at IS NULL"
    }
    return try self.page(
      page, of: ProjectRecord.self, by: "created_at", "timestamptz", where: condition, values)
  }

  public func line(_ id: CatalogLineID) throws -> LineRecord? {
    try first(where: "t.id = $1", .text(id.rawValue))
  }

  /// Gives a lease back before its time.
  public func deleteLease(_ id: String) throws {
    try run("DELETE FROM exzo.leases WHERE id = $1", .text(id))
  }

  /// Drops leases that have expired.
  @discardableResult
  public func expireLeases(before date: Date) throws -> Int {
    try run("DELETE FROM exzo.leases WHERE expires_at < $1::timestamptz", .init(date)).rowsAffected
  }
}
