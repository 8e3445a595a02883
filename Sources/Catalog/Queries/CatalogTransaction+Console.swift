import Foundation
import PostgresClient

extension CatalogTransaction {
  public func consoleSession(_ id: String) throws -> ConsoleSessionRecord? {
    try first(where: "t.id = $1", .text(id))
  }

  public func deleteConsoleSession(_ id: String) throws {
    try run("DELETE FROM exzo.console_sessions WHERE id = $1", .text(id))
  }

  /// Removes sessions whose time is over.
  public func expireConsoleSessions(at date: Date) throws {
    try run("DELETE FROM exzo.console_sessions WHERE expires_at <= $1::timestamptz", .init(date))
  }

  public func supportTicket(_ id: String) throws -> SupportTicketRecord? {
    try first(where: "t.id = $1", .text(id))
  }

  /// Newest first, at most 200; of all accounts where `account` is `nil`.
  public func supportTickets(of account: AccountID?) throws -> [SupportTicketRecord] {
    try select(
      where: "($1::text IS NULL OR t.account_id = $1) ORDER BY t.created_at DESC, t.id LIMIT 200",
      account.map { .text($0.rawValue) })
  }

  /// Text that is another one when the project's operations, endpoints, branches, snapshots or proofs
  /// changed.
  public func changeMark(of project: ProjectID) throws -> String {
    let row = try run(
      """
      SELECT concat_ws('/',
        (SELECT max(updated_at) FROM exzo.operations WHERE project_id = $1),
        (SELECT count(*) FROM exzo.operations WHERE project_id = $1),
        (SELECT max(updated_at) FROM exzo.endpoints WHERE project_id = $1),
        (SELECT max(updated_at) FROM exzo.branches WHERE project_id = $1),
        (SELECT count(*) FROM exzo.snapshots WHERE project_id = $1 AND deleted_at IS NULL),
        (SELECT count(*) FROM exzo.drills WHERE project_id = $1),
        (SELECT max(finished_at) FROM exzo.drills WHERE project_id = $1),
        (SELECT count(*) FROM exzo.verifications WHERE project_id = $1),
        (SELECT max(finished_at) FROM exzo.verifications WHERE project_id = $1)) AS mark
      """, .text(project.rawValue)
    ).first
    return row?["mark"] ?? ""
  }

  /// Bytes sent since `date` to clients of the account's projects: most first, at most 200 rows.
  public func transfers(
    of account: AccountID, since date: Date
  ) throws -> [(project: String, endpoint: String, kind: String, bytes: Int)] {
    try run(
      """
      SELECT t.project_id, t.endpoint_id, t.kind, sum(t.bytes)::bigint AS bytes
      FROM exzo.transfer AS t JOIN exzo.projects AS p ON p.id = t.project_id
      WHERE p.account_id = $1 AND t.hour >= $2::timestamptz
      GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 200
      """, .text(account.rawValue), .init(date)
    ).rows.map {
      (
        try $0.value("project_id"), try $0.value("endpoint_id"), try $0.value("kind"),
        try $0.value("bytes")
      )
    }
  }
}
