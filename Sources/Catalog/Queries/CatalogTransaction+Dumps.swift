import APITypes
import Foundation
import PostgresClient

extension CatalogTransaction {
  /// A dump of `project`, deleted or not.
  public func dump(_ id: DumpID, of project: ProjectID) throws -> DumpRecord? {
    try first(where: "t.id = $1 AND t.project_id = $2", .text(id.rawValue), .text(project.rawValue))
  }

  /// The dump with its row lock.
  public func lockDump(_ id: DumpID) throws -> DumpRecord? {
    try first(where: "t.id = $1 FOR UPDATE", .text(id.rawValue))
  }

  public func dump(_ id: DumpID) throws -> DumpRecord? {
    try first(where: "t.id = $1", .text(id.rawValue))
  }

  /// The project's dumps that are there, newest first.
  public func dumps(of project: ProjectID, _ page: PageRequest) throws -> Page<DumpRecord> {
    try self.page(
      page, of: DumpRecord.self, by: "created_at", "timestamptz",
      where: "t.project_id = $1 AND t.deleted_at IS NULL", [.text(project.rawValue)])
  }

  /// What can be restored from of a branch, the newest thousand.
  public func finishedDumps(of branch: BranchID) throws -> [DumpRecord] {
    try select(
      where: "t.branch_id = $1 AND t.deleted_at IS NULL AND t.status = 'finished' "
        + "ORDER BY t.created_at DESC LIMIT 1000", .text(branch.rawValue))
  }

  /// Dumps that are kept, of a project or of all.
  public func finishedDumps(ofProject project: ProjectID?) throws -> [DumpRecord] {
    try select(
      where:
        "t.deleted_at IS NULL AND t.status = 'finished' AND ($1::text IS NULL OR t.project_id = $1) "
        + "ORDER BY t.created_at", project.map { .text($0.rawValue) })
  }

  /// What all attempts of a schedule's run have made, deleted or not.
  /// - Parameter dueAt: the time for which the run was due, as its operations carry it.
  public func dumps(
    ofRun dueAt: String, of item: ScheduleItemID, in project: ProjectID
  ) throws -> [DumpRecord] {
    try select(
      where: """
        t.project_id = $1 AND NOT t.is_manual AND EXISTS (SELECT FROM exzo.operations AS o
          WHERE o.project_id = $1 AND o.details ->> 'dump' = t.id
            AND o.details ->> 'schedule_item' = $2 AND o.details ->> 'due_at' = $3)
        """, .text(project.rawValue), .text(item.rawValue), .text(dueAt))
  }

  /// Dumps that still need their moment.
  public func unfinishedDumps() throws -> [DumpRecord] {
    try select(where: "t.deleted_at IS NULL AND t.status IN ('queued', 'running', 'verifying')")
  }

  /// Whether there is a dump in `row`, and no verification found fault with it.
  private static func isGood(_ row: String) -> String {
    "(\(row).status = 'finished' AND coalesce(\(row).verification ->> 'status', 'passed') = 'passed')"
  }

  /// The condition under which dump `t` is the last good one that schedules have made of its database while their
  /// newest run is due, under way or has failed at `$1`.
  private static let isLastGood = """
    NOT t.is_manual AND \(isGood("t"))
    AND NOT EXISTS (SELECT FROM exzo.dumps AS n
      WHERE n.project_id = t.project_id AND n.branch_id = t.branch_id
        AND n.database_name = t.database_name AND NOT n.is_manual AND n.deleted_at IS NULL
        AND n.created_at > t.created_at AND \(isGood("n")))
    AND EXISTS (SELECT FROM exzo.backup_schedules AS s JOIN exzo.branches AS b ON b.id = s.branch_id
      WHERE s.branch_id = t.branch_id AND s.kind = 'dump' AND b.deleted_at IS NULL
        AND (s.last_run_status = 'failed' OR s.next_run_at <= $1::timestamptz
          OR EXISTS (SELECT FROM exzo.dumps AS n
            WHERE n.project_id = t.project_id AND n.branch_id = t.branch_id
              AND n.database_name = t.database_name AND NOT n.is_manual
              AND n.created_at >= s.last_run_for AND NOT \(isGood("n")))))
    """

  /// Marks dumps whose time is over as deleted, and those of projects deleted before `projects`. The last good one of a
  /// schedule whose runs fail stays until there is a newer one.
  @discardableResult
  public func expireDumps(at date: Date, projectsDeletedBefore projects: Date) throws -> Int {
    try run(
      """
      UPDATE exzo.dumps AS t SET deleted_at = $1::timestamptz
      WHERE t.deleted_at IS NULL
        AND (t.expires_at <= $1::timestamptz AND NOT (\(Self.isLastGood))
        OR EXISTS (SELECT 1 FROM exzo.projects AS p
          WHERE p.id = t.project_id AND p.deleted_at < $2::timestamptz))
      """, .init(date), .init(projects)
    ).rowsAffected
  }

  /// Deleted, failed and cancelled dumps whose objects may still be in the store and that nothing
  /// works on; by creation.
  public func unremovedDumps(_ page: PageRequest) throws -> Page<DumpRecord> {
    try self.page(
      page, of: DumpRecord.self, by: "created_at", "timestamptz",
      where: """
        (t.deleted_at IS NOT NULL OR t.status IN ('failed', 'cancelled')) AND t.removed_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM exzo.operations AS o WHERE (o.id = t.operation_id OR o.details ->> 'dump' = t.id)
          AND o.status IN ('scheduling', 'running'))
        """, [])
  }

  /// How many dumps failed and were not deleted since, and how many did not pass verification.
  public func troubledDumpCounts() throws -> (failed: Int, unverified: Int) {
    (
      try number("SELECT count(*) FROM exzo.dumps WHERE deleted_at IS NULL AND status = 'failed'"),
      try number(
        """
        SELECT count(*) FROM exzo.dumps
        WHERE deleted_at IS NULL AND verification ->> 'status' <> 'passed'
        """)
    )
  }

  // MARK: scratch computes

  public func scratchComputes() throws -> [ScratchComputeRecord] {
    try select(where: "true ORDER BY t.created_at, t.id")
  }

  public func scratchComputes(of operation: OperationID) throws -> [ScratchComputeRecord] {
    try select(where: "t.operation_id = $1", .text(operation.rawValue))
  }

  public func deleteScratchCompute(_ id: ComputeID) throws {
    try run("DELETE FROM exzo.scratch_computes WHERE id = $1", .text(id.rawValue))
  }

  // MARK: transfer

  /// Adds bytes of a download to a branch that may have no endpoint.
  public func addTransfer(
    ofDump dump: DumpRecord, bytes: Int, at date: Date
  ) throws {
    try run(
      """
      INSERT INTO exzo.transfer AS t
        (endpoint_id, account_id, plan, project_id, branch_id, hour, kind, bytes, created_at)
      VALUES ('', $1, $2, $3, $4, date_trunc('hour', $5::timestamptz, 'UTC'), 'dump', $6::bigint,
        $5::timestamptz)
      ON CONFLICT (endpoint_id, branch_id, hour, kind)
        DO UPDATE SET bytes = t.bytes + excluded.bytes
      """, .text(dump.accountID.rawValue), .text(dump.plan), .text(dump.projectID.rawValue),
      .text(dump.branchID.rawValue), .init(date), .init(bytes))
  }
}
