import Foundation
import PostgresClient

extension CatalogTransaction {
  // MARK: snapshots

  /// A snapshot of `project`, deleted or not.
  public func snapshot(_ id: SnapshotID, of project: ProjectID) throws -> SnapshotRecord? {
    try first(where: "t.id = $1 AND t.project_id = $2", .text(id.rawValue), .text(project.rawValue))
  }

  /// The project's snapshots that are there, newest first.
  public func snapshots(of project: ProjectID) throws -> [SnapshotRecord] {
    try select(
      where: "t.project_id = $1 AND t.deleted_at IS NULL ORDER BY t.created_at DESC, t.id",
      .text(project.rawValue))
  }

  /// Marks snapshots whose time is over as deleted, and those of projects deleted before `projects`.
  @discardableResult
  public func expireSnapshots(at date: Date, projectsDeletedBefore projects: Date) throws -> Int {
    try run(
      """
      UPDATE exzo.snapshots AS t SET deleted_at = $1::timestamptz
      WHERE t.deleted_at IS NULL AND (t.expires_at <= $1::timestamptz
        OR EXISTS (SELECT 1 FROM exzo.projects AS p
          WHERE p.id = t.project_id AND p.deleted_at < $2::timestamptz))
      """, .init(date), .init(projects)
    ).rowsAffected
  }

  // MARK: schedules

  public func schedule(of branch: BranchID) throws -> [ScheduleItemRecord] {
    try select(where: "t.branch_id = $1 ORDER BY t.position", .text(branch.rawValue))
  }

  public func deleteSchedule(of branch: BranchID) throws {
    try run("DELETE FROM exzo.backup_schedules WHERE branch_id = $1", .text(branch.rawValue))
  }

  /// Whether the branch had the item.
  public func deleteScheduleItem(_ id: ScheduleItemID, of branch: BranchID) throws -> Bool {
    try run(
      "DELETE FROM exzo.backup_schedules WHERE id = $1 AND branch_id = $2", .text(id.rawValue),
      .text(branch.rawValue)
    ).rowsAffected > 0
  }

  /// The schedule of `source` becomes that of `branch`, in place of its own.
  public func moveSchedule(from source: BranchID, to branch: BranchID) throws {
    try deleteSchedule(of: branch)
    try run(
      "UPDATE exzo.backup_schedules SET branch_id = $2 WHERE branch_id = $1",
      .text(source.rawValue), .text(branch.rawValue))
  }

  /// Items whose run is due and whose branch is there, longest due first, at most `limit`.
  public func dueScheduleItems(at date: Date, limit: Int) throws -> [ScheduleItemRecord] {
    try select(
      where: """
        t.next_run_at <= $1::timestamptz AND (t.retry_at IS NULL OR t.retry_at <= $1::timestamptz)
        AND \(Self.isOfLivingBranch) ORDER BY t.next_run_at, t.id LIMIT \(limit)
        """, .init(date))
  }

  /// Items whose run is not due yet.
  public func waitingScheduleItems(at date: Date) throws -> [ScheduleItemRecord] {
    try select(where: "t.next_run_at > $1::timestamptz AND \(Self.isOfLivingBranch)", .init(date))
  }

  /// How many living branches' items have failed and wait for their next attempt.
  public func failingScheduleItemCount() throws -> Int {
    try number(
      """
      SELECT count(*) FROM exzo.backup_schedules AS t
      WHERE t.failures_count > 0 AND \(Self.isOfLivingBranch)
      """)
  }

  /// The condition under which the branch of a row `t` is there, and its project.
  static let isOfLivingBranch = """
    EXISTS (SELECT 1 FROM exzo.branches AS b JOIN exzo.projects AS p ON p.id = b.project_id
      WHERE b.id = t.branch_id AND b.deleted_at IS NULL AND p.deleted_at IS NULL)
    """

  /// The item with its row lock; `nil` where it was replaced meanwhile.
  public func lockScheduleItem(_ id: ScheduleItemID) throws -> ScheduleItemRecord? {
    try first(where: "t.id = $1 FOR UPDATE", .text(id.rawValue))
  }

  // MARK: computes that read the past

  public func readingComputes() throws -> [ReadingComputeRecord] {
    try select(where: "true ORDER BY t.created_at, t.id")
  }

  public func readingCompute(_ id: String) throws -> ReadingComputeRecord? {
    try first(where: "t.id = $1", .text(id))
  }

  public func deleteReadingCompute(_ id: String) throws {
    try run("DELETE FROM exzo.reading_computes WHERE id = $1", .text(id))
  }
}
