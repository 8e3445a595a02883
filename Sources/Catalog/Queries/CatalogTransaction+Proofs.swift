import Foundation
import PostgresClient

extension CatalogTransaction {
  // MARK: Verifications

  /// Newest first.
  public func verifications(of project: ProjectID?, limit: Int) throws -> [VerificationRecord] {
    try select(
      where: "t.project_id IS NOT DISTINCT FROM $1 ORDER BY t.created_at DESC, t.id LIMIT $2::int",
      project.map { .text($0.rawValue) }, .init(limit))
  }

  /// The newest that has come to an end.
  /// - Parameter concluded: only of those that passed or failed; one that could not be done says nothing.
  public func lastVerification(
    of project: ProjectID?, concluded: Bool
  ) throws -> VerificationRecord? {
    try first(
      where: """
        t.project_id IS NOT DISTINCT FROM $1 AND t.finished_at IS NOT NULL
        \(concluded ? "AND t.status <> 'error'" : "") ORDER BY t.created_at DESC, t.id LIMIT 1
        """, project.map { .text($0.rawValue) })
  }

  public func verification(_ id: String) throws -> VerificationRecord? {
    try first(where: "t.id = $1", .text(id))
  }

  /// The oldest that is to be done; one that was under way when a process died is done again.
  public func nextVerification() throws -> VerificationRecord? {
    try first(
      where: "t.status IN ('scheduled', 'running') ORDER BY t.created_at, t.id LIMIT 1")
  }

  // MARK: Drills

  /// Newest first.
  public func drills(of project: ProjectID, limit: Int) throws -> [DrillRecord] {
    try select(
      where: "t.project_id = $1 ORDER BY t.created_at DESC, t.id LIMIT $2::int",
      .text(project.rawValue), .init(limit))
  }

  public func drill(_ id: String) throws -> DrillRecord? {
    try first(where: "t.id = $1", .text(id))
  }

  public func unfinishedDrills() throws -> [DrillRecord] {
    try select(where: "t.status IN ('scheduled', 'running') ORDER BY t.created_at, t.id")
  }

  /// Some of the finished ones whose scratch line could not be removed; one that cannot be keeps no other away.
  public func drillsWithRemains(limit: Int) throws -> [DrillRecord] {
    try select(
      where: """
        t.scratch_line_id IS NOT NULL AND t.status NOT IN ('scheduled', 'running')
        ORDER BY random() LIMIT $1::int
        """, .init(limit))
  }

  /// The last drill of each living branch that has had one.
  /// - Parameter concluded: only of those that passed or failed; one that could not be done says nothing.
  public func lastDrills(concluded: Bool = false) throws -> [DrillRecord] {
    try select(
      where: """
        t.id = (SELECT d.id FROM exzo.drills AS d WHERE d.branch_id = t.branch_id
          AND d.finished_at IS NOT NULL \(concluded ? "AND d.status <> 'error'" : "")
          ORDER BY d.created_at DESC, d.id LIMIT 1)
        AND \(Self.isOfLivingBranch)
        """)
  }

  /// Living branches that are default or protected, of living projects, whose last drill is older than
  /// `date`, as old as themselves where they have had none; longest without one first.
  public func branchesToDrill(before date: Date, limit: Int) throws -> [BranchRecord] {
    try select(
      where: """
        t.deleted_at IS NULL AND t.created_at < $1::timestamptz
        AND EXISTS (SELECT FROM exzo.projects AS p WHERE p.id = t.project_id
          AND p.deleted_at IS NULL AND (t.is_protected OR p.default_branch_id = t.id))
        AND EXISTS (SELECT FROM exzo.lines AS l WHERE l.id = t.line_id
          AND (l.is_opened OR l.parent_id IS NOT NULL))
        AND NOT EXISTS (SELECT FROM exzo.drills AS d WHERE d.branch_id = t.id
          AND d.created_at >= $1::timestamptz)
        ORDER BY t.created_at, t.id LIMIT $2::int
        """, .init(date), .init(limit))
  }

  /// Numbers of the last drills, by status.
  public func proofCounts() throws -> (drills: [String: Int], verifications: [String: Int]) {
    var drills = ["passed": 0, "failed": 0, "error": 0]
    for drill in try lastDrills() { drills[drill.status, default: 0] += 1 }
    let rows = try run(
      """
      SELECT status, count(*)::text AS count FROM exzo.verifications AS t
      WHERE t.finished_at IS NOT NULL AND t.id = (
        SELECT v.id FROM exzo.verifications AS v
        WHERE v.project_id IS NOT DISTINCT FROM t.project_id AND v.finished_at IS NOT NULL
        ORDER BY v.created_at DESC, v.id LIMIT 1)
      GROUP BY status
      """
    ).rows
    var verifications = ["passed": 0, "failed": 0, "error": 0]
    for row in rows { verifications[try row.value("status")] = try row.value("count") }
    return (drills, verifications)
  }

  /// Results older than `date` go; the last of each subject stay, and so does the last that passed or failed.
  public func forgetProofs(before date: Date) throws {
    try run(
      """
      DELETE FROM exzo.drills AS t WHERE t.created_at < $1::timestamptz AND EXISTS (
        SELECT FROM exzo.drills AS d WHERE d.branch_id = t.branch_id AND d.created_at > t.created_at
          AND d.finished_at IS NOT NULL AND (t.status = 'error' OR d.status <> 'error'))
      """, .init(date))
    try run(
      """
      DELETE FROM exzo.verifications AS t WHERE t.created_at < $1::timestamptz AND EXISTS (
        SELECT FROM exzo.verifications AS v WHERE v.project_id IS NOT DISTINCT FROM t.project_id
          AND v.created_at > t.created_at
          AND v.finished_at IS NOT NULL AND (t.status = 'error' OR v.status <> 'error'))
      """, .init(date))
  }

  // MARK: Alerts

  public func openAlerts() throws -> [AlertRecord] {
    try select(where: "t.resolved_at IS NULL ORDER BY t.created_at, t.id")
  }

  /// Open ones first, then newest first.
  public func alerts(limit: Int) throws -> [AlertRecord] {
    try select(
      where: "true ORDER BY t.resolved_at IS NULL DESC, t.created_at DESC, t.id LIMIT $1::int",
      .init(limit))
  }

  public func alert(_ id: String) throws -> AlertRecord? {
    try first(where: "t.id = $1", .text(id))
  }

  /// Notices that are to be sent to a receiver now, oldest first. None overtakes an earlier one of its alert, and none
  /// comes after one that was given up: what a receiver was never told is not taken back.
  public func dueNotices(
    to channel: String, at date: Date, limit: Int
  ) throws -> [AlertNoticeRecord] {
    try select(
      where: """
        t.delivered_at IS NULL AND t.channel = $1 AND t.next_attempt_at <= $2::timestamptz
        AND NOT EXISTS (SELECT FROM exzo.alert_notices AS e WHERE e.alert_id = t.alert_id
          AND e.channel = t.channel AND e.created_at < t.created_at AND e.delivered_at IS NULL)
        ORDER BY t.created_at, t.id LIMIT $3::int
        """, .text(channel), .init(date), .init(limit))
  }

  public func notices(of alert: String) throws -> [AlertNoticeRecord] {
    try select(where: "t.alert_id = $1 ORDER BY t.created_at, t.id", .text(alert))
  }

  public func forgetAlerts(resolvedBefore date: Date) throws {
    try run("DELETE FROM exzo.alerts WHERE resolved_at < $1::timestamptz", .init(date))
  }

  /// Schedule items of living branches whose last run failed.
  public func failingScheduleItems() throws -> [ScheduleItemRecord] {
    try select(where: "t.failures_count > 0 AND \(Self.isOfLivingBranch) ORDER BY t.id")
  }

  /// Schedule items of living branches that were due before `date` and have not run for it.
  public func overdueScheduleItems(before date: Date) throws -> [ScheduleItemRecord] {
    try select(
      where: """
        t.failures_count = 0 AND t.next_run_at < $1::timestamptz AND \(Self.isOfLivingBranch)
        ORDER BY t.id
        """, .init(date))
  }
}
