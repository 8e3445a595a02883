import Foundation
import PostgresClient

extension CatalogTransaction {
  /// All accounts, oldest first.
  public func accounts(_ page: PageRequest) throws -> Page<AccountRecord> {
    try self.page(page, of: AccountRecord.self, by: "created_at", "timestamptz", where: "true", [])
  }

  public func account(email: String) throws -> AccountRecord? {
    try first(where: "lower(t.email) = lower($1)", .text(email))
  }

  /// Takes the account's row lock: changes of its plan and new projects go one after the other.
  public func lockAccount(_ id: AccountID) throws -> AccountRecord? {
    try first(where: "t.id = $1 FOR UPDATE", .text(id.rawValue))
  }

  public func plans() throws -> [PlanRecord] { try select(where: "true ORDER BY t.name") }

  /// Takes the plan's row lock.
  public func lockPlan(_ name: String) throws -> PlanRecord? {
    try first(where: "t.name = $1 FOR UPDATE", .text(name))
  }

  /// All projects of an account that are there.
  public func projects(of account: AccountID) throws -> [ProjectRecord] {
    try select(
      where: "t.account_id = $1 AND t.deleted_at IS NULL ORDER BY t.id", .text(account.rawValue))
  }

  /// All projects on a plan that are there.
  public func projects(onPlan plan: String) throws -> [ProjectRecord] {
    try select(where: "t.plan = $1 AND t.deleted_at IS NULL ORDER BY t.id", .text(plan))
  }

  /// Puts an account and what it has on a plan.
  public func setPlan(_ plan: String, of account: AccountID) throws {
    try run(
      "UPDATE exzo.accounts SET plan = $2 WHERE id = $1", .text(account.rawValue), .text(plan))
    try run(
      "UPDATE exzo.projects SET plan = $2 WHERE account_id = $1 AND deleted_at IS NULL",
      .text(account.rawValue), .text(plan))
  }

  // MARK: sharing

  /// The condition under which a project `t` is the account's own, or shared with it; `parameter`
  /// is the account's id.
  static func isVisible(to parameter: String) -> String {
    """
    (t.account_id = \(parameter) OR EXISTS (
      SELECT 1 FROM exzo.project_permissions AS p JOIN exzo.accounts AS a
        ON lower(a.email) = lower(p.email)
      WHERE p.project_id = t.id AND p.revoked_at IS NULL AND a.id = \(parameter)))
    """
  }

  /// Grants on a project that stand, oldest first.
  public func permissions(of project: ProjectID) throws -> [PermissionRecord] {
    try select(
      where: "t.project_id = $1 AND t.revoked_at IS NULL ORDER BY t.created_at, t.id",
      .text(project.rawValue))
  }

  /// A grant, revoked or not.
  public func permission(_ id: String, of project: ProjectID) throws -> PermissionRecord? {
    try first(where: "t.id = $1 AND t.project_id = $2", .text(id), .text(project.rawValue))
  }

  public func permission(email: String, of project: ProjectID) throws -> PermissionRecord? {
    try first(
      where: "t.project_id = $1 AND lower(t.email) = lower($2) AND t.revoked_at IS NULL",
      .text(project.rawValue), .text(email))
  }

  /// Projects of others that are shared with the account, newest first.
  public func sharedProjects(
    with account: AccountID, search: String?, _ page: PageRequest
  ) throws -> Page<ProjectRecord> {
    try self.page(
      page, of: ProjectRecord.self, by: "created_at", "timestamptz",
      where: """
        t.account_id <> $1 AND t.deleted_at IS NULL AND (t.name ILIKE $2 OR t.id ILIKE $2)
        AND \(Self.isVisible(to: "$1"))
        """, [.text(account.rawValue), .text(Self.pattern(search ?? ""))])
  }

  // MARK: audit log

  /// Writes of an account, newest first; of all accounts where that is `nil`.
  public func auditLog(
    of account: AccountID?, from: Date?, to: Date?, _ page: PageRequest
  ) throws -> Page<AuditRecord> {
    try self.page(
      page, of: AuditRecord.self, by: "id", "bigint",
      where: """
        ($1::text IS NULL OR t.account_id = $1)
        AND ($2::timestamptz IS NULL OR t.created_at >= $2::timestamptz)
        AND ($3::timestamptz IS NULL OR t.created_at < $3::timestamptz)
        """, [account.map { .text($0.rawValue) }, from.map { .init($0) }, to.map { .init($0) }])
  }

  // MARK: retention

  public func retentionChange(of project: ProjectID) throws -> RetentionChangeRecord? {
    try first(where: "t.project_id = $1", .text(project.rawValue))
  }

  /// Writes the project's one row.
  public func set(_ change: RetentionChangeRecord) throws {
    try deleteRetentionChange(of: change.projectID)
    try insert(change)
  }

  public func deleteRetentionChange(of project: ProjectID) throws {
    try run(
      "DELETE FROM exzo.retention_changes WHERE project_id = $1", .text(project.rawValue))
  }
}
