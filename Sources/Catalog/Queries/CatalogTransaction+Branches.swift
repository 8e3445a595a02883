import APITypes
import Foundation
import PostgresClient

/// Columns by which branches can be listed.
public enum BranchSortColumn: String, Sendable, CaseIterable {
  case name
  case createdAt = "created_at"
  case updatedAt = "updated_at"
}

extension CatalogTransaction {
  /// A branch of `project`, deleted or not.
  public func branch(_ id: BranchID, of project: ProjectID) throws -> BranchRecord? {
    try first(
      where: "t.id = $1 AND t.project_id = $2", .text(id.rawValue), .text(project.rawValue)
    )
  }

  /// A branch that is there, whatever project it belongs to.
  public func branch(_ id: BranchID) throws -> BranchRecord? {
    try first(where: "t.id = $1 AND t.deleted_at IS NULL", .text(id.rawValue))
  }

  /// - Parameter deletedSince: also branches that were deleted after this and can be recovered.
  public func branches(
    of project: ProjectID, search: String?, deletedSince: Date?, by column: BranchSortColumn,
    _ page: PageRequest
  ) throws -> Page<BranchRecord> {
    // A date of ours is digits and signs only.
    let deletion =
      deletedSince.map {
        " AND (t.deleted_at IS NULL OR t.deleted_at > '\(RFC3339.text($0))' AND NOT t.is_purged)"
      } ?? " AND t.deleted_at IS NULL"
    return try self.page(
      page, of: BranchRecord.self, by: column.rawValue, column == .name ? "text" : "timestamptz",
      where: "t.project_id = $1 AND (t.name ILIKE $2 OR t.id ILIKE $2)\(deletion)",
      [.text(project.rawValue), .text(Self.pattern(search ?? ""))])
  }

  public func branchCount(of project: ProjectID, search: String? = nil) throws -> Int {
    try number(
      """
      SELECT count(*) FROM exzo.branches AS t WHERE t.project_id = $1 AND t.deleted_at IS NULL
      AND (t.name ILIKE $2 OR t.id ILIKE $2)
      """, .text(project.rawValue), .text(Self.pattern(search ?? "")))
  }

  /// All branches of the project that are there.
  public func branches(of project: ProjectID) throws -> [BranchRecord] {
    try select(
      where: "t.project_id = $1 AND t.deleted_at IS NULL ORDER BY t.id", .text(project.rawValue))
  }

  public func children(of branch: BranchID) throws -> [BranchRecord] {
    try select(
      where: "t.parent_id = $1 AND t.deleted_at IS NULL ORDER BY t.id", .text(branch.rawValue))
  }

  /// Branches whose time is over, at most `limit`, without those that ``waitingBranches(at:)`` has.
  public func expiredBranches(at date: Date, limit: Int) throws -> [BranchRecord] {
    try select(
      where: """
        t.deleted_at IS NULL AND t.expires_at <= $1::timestamptz AND NOT (\(Self.waitsForChildren))
        ORDER BY t.id LIMIT \(limit)
        """,
      .init(date))
  }

  /// Branches whose time is over and that stay because they have children.
  public func waitingBranches(at date: Date) throws -> [BranchRecord] {
    try select(
      where: """
        t.deleted_at IS NULL AND t.expires_at <= $1::timestamptz AND \(Self.waitsForChildren)
        AND EXISTS (SELECT FROM exzo.projects AS p
          WHERE p.id = t.project_id AND p.deleted_at IS NULL) ORDER BY t.id
        """, .init(date))
  }

  /// Children of a preserved state go to another branch.
  private static let waitsForChildren = """
    t.preserved_from IS NULL AND EXISTS (SELECT FROM exzo.branches AS c
      WHERE c.parent_id = t.id AND c.deleted_at IS NULL)
    """

  // MARK: roles and databases

  public func roles(of branch: BranchID) throws -> [RoleRecord] {
    try select(where: "t.branch_id = $1 ORDER BY t.name", .text(branch.rawValue))
  }

  public func role(_ name: String, of branch: BranchID) throws -> RoleRecord? {
    try first(where: "t.branch_id = $1 AND t.name = $2", .text(branch.rawValue), .text(name))
  }

  public func databases(of branch: BranchID) throws -> [DatabaseRecord] {
    try select(where: "t.branch_id = $1 ORDER BY t.id", .text(branch.rawValue))
  }

  public func database(_ name: String, of branch: BranchID) throws -> DatabaseRecord? {
    try first(where: "t.branch_id = $1 AND t.name = $2", .text(branch.rawValue), .text(name))
  }

  public func nextDatabaseID() throws -> Int { try number("SELECT nextval('exzo.database_ids')") }
}
