import Foundation
import PostgresClient

/// What retention goes by, of all projects at once.
extension CatalogTransaction {
  public func allLines() throws -> [LineRecord] { try select(where: "true ORDER BY t.id") }

  public func allProjects() throws -> [ProjectRecord] { try select(where: "true ORDER BY t.id") }

  /// Branches that are there, and those deleted after `date` that may come back.
  public func branches(recoverableSince date: Date) throws -> [BranchRecord] {
    try select(
      where: """
        t.deleted_at IS NULL OR (t.deleted_at > $1::timestamptz AND NOT t.is_purged) ORDER BY t.id
        """, .init(date))
  }

  public func allSnapshots() throws -> [SnapshotRecord] {
    try select(where: "t.deleted_at IS NULL ORDER BY t.id")
  }

  public func leases(after date: Date) throws -> [LeaseRecord] {
    try select(where: "t.expires_at > $1::timestamptz ORDER BY t.id", .init(date))
  }

  /// Lines of computes that run or may.
  public func computeLines() throws -> Set<CatalogLineID> {
    let rows = try run("SELECT DISTINCT line_id FROM exzo.computes").rows
    return Set(rows.compactMap { row in row[0].map { CatalogLineID($0) } })
  }

  /// Projects in which an operation has not come to its end.
  public func busyProjects() throws -> Set<ProjectID> {
    let rows = try run(
      """
      SELECT DISTINCT project_id FROM exzo.operations
      WHERE status IN ('scheduling', 'running')
      """
    ).rows
    return Set(rows.compactMap { row in row[0].map { ProjectID($0) } })
  }
}
