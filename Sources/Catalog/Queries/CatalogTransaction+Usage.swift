import Foundation
import PostgresClient

extension CatalogTransaction {
  /// Use of a project's branches since `date`, with their last known sizes.
  public func usage(of project: ProjectID, since date: Date) throws -> [BranchID: UsageTotals] {
    Dictionary(
      try usage(where: "project_id = $1", .text(project.rawValue), since: date)
        .map { ($0.branch, $0.totals) }
    ) { $1 }
  }

  /// Use of each of the projects since `date`; one that used and keeps nothing is left out.
  public func usage(
    ofProjects projects: [ProjectID], since date: Date
  ) throws -> [ProjectID: UsageTotals] {
    guard !projects.isEmpty else { return [:] }
    let condition = "project_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))"
    return try usage(where: condition, .text(try RecordCoding.json(projects)), since: date)
      .reduce(into: [:]) { $0[$1.project, default: UsageTotals()] += $1.totals }
  }

  /// Use of all of an account's projects since `date`.
  public func usage(of account: AccountID, since date: Date) throws -> UsageTotals {
    try usage(where: "account_id = $1", .text(account.rawValue), since: date)
      .reduce(into: UsageTotals()) { $0 += $1.totals }
  }

  private func usage(
    where condition: String, _ parameter: PostgresValue, since date: Date
  ) throws -> [(project: ProjectID, branch: BranchID, totals: UsageTotals)] {
    let result = try run(
      """
      SELECT x.project_id, x.branch_id, \(Self.sums),
        max(s.logical_size_bytes)::text AS logical, max(s.history_bytes)::text AS history
      FROM (\(Self.rows(where: "\(condition) AND hour >= date_trunc('hour', $2::timestamptz, 'UTC')")))
        AS x LEFT JOIN exzo.branch_sizes AS s ON s.branch_id = x.branch_id
      GROUP BY x.project_id, x.branch_id
      """, parameter, .init(date))
    return try result.rows.map { row in
      (
        ProjectID(try row.value("project_id")), BranchID(try row.value("branch_id")),
        try Self.totals(row)
      )
    }
  }

  /// Use in `[from, to)`, by branch and frame, in order of project, branch and time.
  public func usageFrames(
    of projects: [ProjectID], branches: [BranchID]? = nil, from: Date, to: Date,
    by granularity: UsageGranularity
  ) throws -> [UsageFrame] {
    let ids = try RecordCoding.json(projects)
    let chosen = try branches.map { PostgresValue.text(try RecordCoding.json($0)) }
    let condition = """
      project_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))
      AND ($2::jsonb IS NULL
        OR branch_id = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb))))
      AND hour >= $3::timestamptz AND hour < $4::timestamptz
      """
    let unit = granularity.unit
    let result = try run(
      """
      SELECT x.project_id, x.branch_id, (b.parent_id IS NULL)::text AS is_root,
        extract(epoch FROM date_trunc('\(unit)', x.hour, 'UTC'))::bigint::text AS frame,
        \(Self.sums),
        ((array_agg(x.logical ORDER BY x.hour DESC) FILTER (WHERE x.logical IS NOT NULL))[1])::text
          AS logical,
        ((array_agg(x.history ORDER BY x.hour DESC) FILTER (WHERE x.history IS NOT NULL))[1])::text
          AS history
      FROM (\(Self.rows(where: condition))) AS x
      LEFT JOIN exzo.branches AS b ON b.id = x.branch_id
      GROUP BY x.project_id, x.branch_id, b.parent_id, frame
      ORDER BY x.project_id, x.branch_id, frame
      """, .text(ids), chosen, .init(from), .init(to))
    return try result.rows.map { row in
      UsageFrame(
        projectID: ProjectID(try row.value("project_id")),
        branchID: BranchID(try row.value("branch_id")),
        isRoot: try row.value("is_root") == "true",
        start: Date(timeIntervalSince1970: TimeInterval(try row.value("frame", as: Int.self))),
        totals: try Self.totals(row))
    }
  }

  /// Branches of the projects, deleted ones included: what was used stays used.
  public func branchIDs(
    of projects: [ProjectID], among branches: [BranchID]?, after: String?, limit: Int
  ) throws -> [(project: ProjectID, branch: BranchID)] {
    let result = try run(
      """
      SELECT t.project_id, t.id FROM exzo.branches AS t
      WHERE t.project_id = ANY (ARRAY(SELECT jsonb_array_elements_text($1::jsonb)))
        AND ($2::jsonb IS NULL OR t.id = ANY (ARRAY(SELECT jsonb_array_elements_text($2::jsonb))))
        AND ($3::text IS NULL OR t.id > $3) ORDER BY t.id LIMIT \(limit)
      """, .text(try RecordCoding.json(projects)),
      try branches.map { .text(try RecordCoding.json($0)) }, after.map { .text($0) })
    return try result.rows.map { row in
      (ProjectID(try row.value("project_id")), BranchID(try row.value("id")))
    }
  }

  /// The account's own projects that were there after `date`, by id.
  public func meteredProjects(
    of account: AccountID, among ids: [ProjectID]?, since date: Date, after: String?, limit: Int
  ) throws -> [ProjectRecord] {
    try select(
      where: """
        t.account_id = $1 AND (t.deleted_at IS NULL OR t.deleted_at >= $2::timestamptz)
        AND ($3::jsonb IS NULL OR t.id = ANY (ARRAY(SELECT jsonb_array_elements_text($3::jsonb))))
        AND ($4::text IS NULL OR t.id > $4) ORDER BY t.id LIMIT \(limit)
        """, .text(account.rawValue), .init(date),
      try ids.map { .text(try RecordCoding.json($0)) }, after.map { .text($0) })
  }

  /// Of rows `x`. What a child changed is what its own line takes in the store; it is
  /// charged once: up to the size of its databases as a branch, beyond that as history.
  private static let sums = """
    sum(x.active)::bigint::text AS active, sum(x.compute)::bigint::text AS compute,
    sum(x.written)::bigint::text AS written, sum(x.transfer)::bigint::text AS transfer,
    coalesce(sum(x.logical), 0)::bigint::text AS logical_hours,
    coalesce(sum(x.history), 0)::bigint::text AS history_hours,
    coalesce(sum(CASE WHEN x.is_child THEN least(x.logical, coalesce(x.history, 0))
      ELSE x.logical END), 0)::bigint::text AS branch_hours,
    coalesce(sum(CASE WHEN x.is_child THEN x.history - least(x.logical, x.history)
      ELSE x.history END), 0)::bigint::text AS restore_hours,
    coalesce(sum(x.dumps), 0)::bigint::text AS dump_hours
    """

  /// Hours of use and hours of transfer in one shape.
  private static func rows(where condition: String) -> String {
    """
    SELECT project_id, branch_id, hour, active_milliseconds AS active,
      compute_milliseconds AS compute, written_bytes AS written, 0::bigint AS transfer,
      logical_size_bytes AS logical, history_bytes AS history, dump_bytes AS dumps,
      is_child
    FROM exzo.usage_hours WHERE \(condition)
    UNION ALL
    SELECT project_id, branch_id, hour, 0, 0, 0, bytes, NULL, NULL, NULL, NULL
    FROM exzo.transfer WHERE \(condition)
    """
  }

  private static func totals(_ row: PostgresRow) throws -> UsageTotals {
    var totals = UsageTotals()
    totals.activeMilliseconds = try row.value("active")
    totals.computeMilliseconds = try row.value("compute")
    totals.writtenBytes = try row.value("written")
    totals.transferBytes = try row.value("transfer")
    totals.logicalByteHours = try row.value("logical_hours")
    totals.historyByteHours = try row.value("history_hours")
    totals.branchByteHours = try row.value("branch_hours")
    totals.restoreByteHours = try row.value("restore_hours")
    totals.dumpByteHours = try row.value("dump_hours")
    totals.logicalBytes = try row.optional("logical")
    totals.historyBytes = try row.optional("history")
    return totals
  }
}

extension CatalogTransaction {
  /// Use of one branch since `date`; its last known sizes also where it was not used.
  public func usage(
    of branch: BranchID, project: ProjectID, since date: Date
  ) throws -> UsageTotals {
    var totals = try usage(of: project, since: date)[branch] ?? UsageTotals()
    if totals.logicalBytes == nil { totals.logicalBytes = try logicalSize(of: branch) }
    return totals
  }

  public func compute(_ id: ComputeID) throws -> ComputeRecord? {
    try first(where: "t.id = $1", .text(id.rawValue))
  }
}
