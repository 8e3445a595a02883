import Foundation
import PostgresClient

/// Counting. Each statement is harmless when its transaction is tried again: batches carry a
/// number, time and WAL a mark up to which they are counted.
extension CatalogTransaction {
  /// Whether a writer's batch is new; false where it was written already, which a caller that did
  /// not learn of its commit finds out here.
  public func beginBatch(_ sequence: Int, of writer: String, at date: Date) throws -> Bool {
    try run(
      """
      INSERT INTO exzo.meter_batches AS b (writer, sequence, created_at)
      VALUES ($1, $2::bigint, $3::timestamptz)
      ON CONFLICT (writer) DO UPDATE
        SET sequence = excluded.sequence, created_at = excluded.created_at
      WHERE b.sequence < excluded.sequence
      """, .text(writer), .init(sequence), .init(date)
    ).rowsAffected == 1
  }

  /// Forgets writers and computes that are gone: they will not count again. A replica has no compute of
  /// its own: its marks are its endpoint's, and stay while that is there.
  public func sweepMeter(at date: Date) throws {
    try run(
      "DELETE FROM exzo.meter_batches WHERE created_at < $1::timestamptz - interval '7 days'",
      .init(date))
    try run(
      """
      DELETE FROM exzo.usage_marks AS m
      WHERE (m.counted_until IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM exzo.computes AS c WHERE c.id = m.subject)
          AND NOT EXISTS (SELECT 1 FROM exzo.endpoints AS e
            WHERE e.id = m.subject AND e.deleted_at IS NULL))
        OR EXISTS (SELECT 1 FROM exzo.projects AS p WHERE p.id = m.project_id
          AND p.deleted_at < $1::timestamptz - interval '7 days')
      """, .init(date))
  }

  /// Adds bytes sent to clients in the hour that holds `date`, to the branch that the endpoint
  /// serves, or to the increment's own. Unknown endpoints and branches are ignored: they never were.
  public func addTransfer(_ increment: TransferIncrement, at date: Date) throws {
    let (source, columns) =
      increment.branch == nil
      ? ("endpoints", "id, account_id, plan, project_id, branch_id")
      : ("branches", "'', account_id, plan, project_id, id")
    let id = increment.branch?.rawValue ?? increment.endpoint.rawValue
    try run(
      """
      INSERT INTO exzo.transfer AS t
        (endpoint_id, account_id, plan, project_id, branch_id, hour, kind, bytes, created_at)
      SELECT \(columns), date_trunc('hour', $4::timestamptz, 'UTC'), $2, $3::bigint,
        $4::timestamptz
      FROM exzo.\(source) WHERE id = $1
      ON CONFLICT (endpoint_id, branch_id, hour, kind)
        DO UPDATE SET bytes = t.bytes + excluded.bytes
      """, .text(id), .text(increment.kind), .init(increment.bytes), .init(date))
  }

  public func usageMark(_ subject: String) throws -> UsageMarkRecord? {
    try first(where: "t.subject = $1 FOR UPDATE", .text(subject))
  }

  public func set(_ mark: UsageMarkRecord) throws {
    try run("DELETE FROM exzo.usage_marks WHERE subject = $1", .text(mark.subject))
    try insert(mark)
  }

  /// Adds to a branch's use in the hour that starts at `hour`.
  public func addUsage(
    _ totals: UsageTotals, branch: BranchRecord, hour: Date, at date: Date
  ) throws {
    try run(
      """
      INSERT INTO exzo.usage_hours AS u (branch_id, hour, account_id, plan, project_id,
        active_milliseconds, compute_milliseconds, written_bytes, created_at)
      VALUES ($1, $2::timestamptz, $3, $4, $5, $6::bigint, $7::bigint, $8::bigint,
        $9::timestamptz)
      ON CONFLICT (branch_id, hour) DO UPDATE SET
        active_milliseconds = u.active_milliseconds + excluded.active_milliseconds,
        compute_milliseconds = u.compute_milliseconds + excluded.compute_milliseconds,
        written_bytes = u.written_bytes + excluded.written_bytes
      """, .text(branch.id.rawValue), .init(hour), .text(branch.accountID.rawValue),
      .text(branch.plan), .text(branch.projectID.rawValue), .init(totals.activeMilliseconds),
      .init(totals.computeMilliseconds), .init(totals.writtenBytes), .init(date))
  }

  /// Notes what was measured; what was not keeps its last value.
  public func setSizes(
    logical: Int?, history: Int?, of branch: BranchID, project: ProjectID, at date: Date
  ) throws {
    try run(
      """
      INSERT INTO exzo.branch_sizes AS s
        (branch_id, project_id, logical_size_bytes, history_bytes, measured_at)
      VALUES ($1, $2, $3::bigint, $4::bigint, $5::timestamptz)
      ON CONFLICT (branch_id) DO UPDATE SET measured_at = excluded.measured_at,
        logical_size_bytes = coalesce(excluded.logical_size_bytes, s.logical_size_bytes),
        history_bytes = coalesce(excluded.history_bytes, s.history_bytes)
      """, .text(branch.rawValue), .text(project.rawValue), logical.map { .init($0) },
      history.map { .init($0) }, .init(date))
  }

  private static let isLiving = """
    t.deleted_at IS NULL AND EXISTS (SELECT 1 FROM exzo.projects AS p
      WHERE p.id = t.project_id AND p.deleted_at IS NULL)
    """

  /// Living branches whose sizes were last measured before `date`.
  public func branchesMeasured(before date: Date, limit: Int) throws -> [BranchRecord] {
    try select(
      where: """
        \(Self.isLiving) AND EXISTS (SELECT 1 FROM exzo.branch_sizes AS s
          WHERE s.branch_id = t.id AND s.measured_at < $1::timestamptz)
        ORDER BY t.id LIMIT \(limit)
        """, .init(date))
  }

  public func logicalSize(of branch: BranchID) throws -> Int? {
    try run(
      "SELECT logical_size_bytes::text FROM exzo.branch_sizes WHERE branch_id = $1",
      .text(branch.rawValue)
    ).first?[0].flatMap { Int($0) }
  }

  /// Accounts for what is stored, for every whole hour from `start` to `end` and every branch that
  /// was there at the hour's end, by its last known size.
  public func accountStorage(from start: Date, to end: Date) throws {
    try run(
      """
      INSERT INTO exzo.usage_hours AS u (branch_id, hour, account_id, plan, project_id,
        logical_size_bytes, history_bytes, is_child, created_at)
      SELECT b.id, h.hour, b.account_id, p.plan, b.project_id, s.logical_size_bytes,
        s.history_bytes, b.parent_id IS NOT NULL, $2::timestamptz
      FROM exzo.branch_sizes AS s JOIN exzo.branches AS b ON b.id = s.branch_id
      JOIN exzo.projects AS p ON p.id = b.project_id
      CROSS JOIN generate_series($1::timestamptz, $2::timestamptz - interval '1 hour',
        interval '1 hour') AS h (hour)
      WHERE b.created_at < h.hour + interval '1 hour'
        AND (b.deleted_at IS NULL OR b.deleted_at >= h.hour + interval '1 hour')
        AND (p.deleted_at IS NULL OR p.deleted_at >= h.hour + interval '1 hour')
      ON CONFLICT (branch_id, hour) DO UPDATE SET
        logical_size_bytes = excluded.logical_size_bytes, history_bytes = excluded.history_bytes,
        is_child = excluded.is_child
      """, .init(start), .init(end))
    try accountDumps(from: start, to: end)
  }

  /// The same for dumps, each counted for its branch, which may be gone.
  private func accountDumps(from start: Date, to end: Date) throws {
    try run(
      """
      INSERT INTO exzo.usage_hours AS u (branch_id, hour, account_id, plan, project_id, dump_bytes,
        created_at)
      SELECT d.branch_id, h.hour, p.account_id, p.plan, p.id, sum(d.size_bytes)::bigint,
        $2::timestamptz
      FROM exzo.dumps AS d JOIN exzo.projects AS p ON p.id = d.project_id
      CROSS JOIN generate_series($1::timestamptz, $2::timestamptz - interval '1 hour',
        interval '1 hour') AS h (hour)
      WHERE d.size_bytes IS NOT NULL
        AND coalesce(d.finished_at, d.started_at, d.created_at) < h.hour + interval '1 hour'
        AND (d.deleted_at IS NULL OR d.deleted_at >= h.hour + interval '1 hour')
        AND (p.deleted_at IS NULL OR p.deleted_at >= h.hour + interval '1 hour')
      GROUP BY d.branch_id, h.hour, p.account_id, p.plan, p.id
      ON CONFLICT (branch_id, hour) DO UPDATE SET dump_bytes = excluded.dump_bytes
      """, .init(start), .init(end))
  }

  /// Bytes sent to clients by session kind, of all projects.
  public func transferByKind() throws -> [String: Int] {
    let rows = try run(
      "SELECT kind, sum(bytes)::bigint::text AS bytes FROM exzo.transfer GROUP BY kind"
    ).rows
    return try Dictionary(
      uniqueKeysWithValues: rows.map { try ($0.value("kind"), $0.value("bytes")) })
  }

  /// Endpoints by state, of all projects.
  public func endpointCounts() throws -> [String: Int] {
    let rows = try run(
      """
      SELECT state, count(*)::text AS count FROM exzo.endpoints WHERE deleted_at IS NULL
      GROUP BY state
      """
    ).rows
    return try Dictionary(
      uniqueKeysWithValues: rows.map { try ($0.value("state"), $0.value("count")) })
  }
}
