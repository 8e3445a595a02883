import Foundation
import PostgresClient

extension CatalogTransaction {
  /// Adds an operation and gives it its position.
  public func enqueue(_ operation: OperationRecord) throws -> OperationRecord {
    var operation = operation
    operation.position = try number("SELECT nextval('exzo.operation_positions')")
    return try insert(operation)
  }

  public func operation(_ id: OperationID, of project: ProjectID) throws -> OperationRecord? {
    try first(
      where: "t.id = $1 AND t.project_id = $2", .text(id.rawValue), .text(project.rawValue)
    )
  }

  public func operation(_ id: OperationID) throws -> OperationRecord? {
    try first(where: "t.id = $1", .text(id.rawValue))
  }

  /// The project's operations, newest first.
  public func operations(of project: ProjectID, _ page: PageRequest) throws -> Page<OperationRecord>
  {
    try self.page(
      page, of: OperationRecord.self, by: "position", "bigint", where: "t.project_id = $1",
      [.text(project.rawValue)])
  }

  /// The oldest unfinished operation of the project that holds one of `locks`.
  public func holder(of locks: [String], in project: ProjectID) throws -> OperationRecord? {
    let keys = try RecordCoding.json(locks)
    return try first(
      where: """
        t.project_id = $1 AND t.status IN ('scheduling', 'running')
        AND t.locks ?| ARRAY(SELECT jsonb_array_elements_text($2::jsonb))
        ORDER BY t.position LIMIT 1
        """, .text(project.rawValue), .text(keys)
    )
  }

  /// Takes the oldest operation that can run now, and marks it as `worker`'s.
  ///
  /// One that waits for another runs once that has finished; see ``orphans()`` for those that
  /// never will.
  ///
  /// - Parameter kinds: only operations of these kinds, or, where `excluding`, none of them.
  public func claimOperation(
    for worker: String, at date: Date, kinds: [String] = [], excluding: Bool = true
  ) throws -> OperationRecord? {
    let result = try run(
      """
      UPDATE exzo.operations AS t SET status = 'running', claimed_by = $1,
        started_at = coalesce(t.started_at, $2::timestamptz), updated_at = $2::timestamptz
      WHERE t.id = (
        SELECT o.id FROM exzo.operations AS o
        WHERE \(Self.isClaimable(at: "$2"))
          AND (o.kind = ANY(ARRAY(SELECT jsonb_array_elements_text($3::jsonb)))) <> $4::boolean
        ORDER BY o.position LIMIT 1 FOR UPDATE SKIP LOCKED)
      RETURNING to_jsonb(t)
      """, .text(worker), .init(date), .text(try RecordCoding.json(kinds)),
      .text(excluding ? "true" : "false"))
    return try result.first.map { try RecordCoding.record($0) }
  }

  /// Whether there is an operation that ``claimOperation(for:at:kinds:excluding:)`` could take now.
  public func hasClaimableOperation(at date: Date) throws -> Bool {
    try run(
      "SELECT FROM exzo.operations AS o WHERE \(Self.isClaimable(at: "$1")) LIMIT 1", .init(date)
    ).rowCount > 0
  }

  private static func isClaimable(at date: String) -> String {
    """
    o.status IN ('scheduling', 'running') AND o.claimed_by IS NULL
      AND (o.retry_at IS NULL OR o.retry_at <= \(date)::timestamptz)
      AND NOT EXISTS (
        SELECT 1 FROM jsonb_array_elements_text(o.waits_for) AS w (id)
        JOIN exzo.operations AS b ON b.id = w.id WHERE b.status <> 'finished')
    """
  }

  /// Unfinished operations that wait for one that failed.
  public func orphans() throws -> [OperationRecord] {
    try select(
      where: """
        t.status IN ('scheduling', 'running') AND EXISTS (
          SELECT 1 FROM jsonb_array_elements_text(t.waits_for) AS w (id)
          JOIN exzo.operations AS b ON b.id = w.id
          WHERE b.status IN ('failed', 'cancelled', 'skipped'))
        ORDER BY t.position
        """)
  }

  /// Gives back what workers of an engine that is gone had claimed.
  @discardableResult
  public func releaseClaims(of worker: String) throws -> Int {
    try run(
      """
      UPDATE exzo.operations SET claimed_by = NULL
      WHERE claimed_by = $1 AND status IN ('scheduling', 'running')
      """, .text(worker)
    ).rowsAffected
  }

  /// Branches that are deleted, by themselves or with their project, still have computes, and no unfinished
  /// operation that may be at them.
  public func deletedBranchesWithComputes() throws -> [BranchRecord] {
    try select(
      where: """
        (t.deleted_at IS NOT NULL OR EXISTS (SELECT FROM exzo.projects AS p
          WHERE p.id = t.project_id AND p.deleted_at IS NOT NULL))
        AND EXISTS (SELECT FROM exzo.computes AS c WHERE c.branch_id = t.id)
        AND NOT EXISTS (SELECT FROM exzo.operations AS o WHERE o.project_id = t.project_id
          AND o.status IN ('scheduling', 'running')
          AND (o.branch_id IS NULL OR o.branch_id = t.id))
        ORDER BY t.id
        """)
  }

  /// Endpoints that are deleted, whose branch is not, may still have a compute that runs, and no unfinished
  /// operation that may be at it: those that read, and those whose compute has a place.
  public func deletedEndpointsThatMayRun() throws -> [EndpointRecord] {
    try select(
      where: """
        t.deleted_at IS NOT NULL AND (t.type = 'read_only' OR EXISTS (
          SELECT FROM exzo.computes AS c
          WHERE c.endpoint_id = t.id AND c.socket_directory IS NOT NULL))
        AND EXISTS (SELECT FROM exzo.branches AS b JOIN exzo.projects AS p ON p.id = b.project_id
          WHERE b.id = t.branch_id AND b.deleted_at IS NULL AND p.deleted_at IS NULL)
        AND NOT EXISTS (SELECT FROM exzo.operations AS o WHERE o.project_id = t.project_id
          AND o.status IN ('scheduling', 'running')
          AND (o.branch_id IS NULL OR o.branch_id = t.branch_id))
        ORDER BY t.id
        """)
  }

  /// Records that a step is done; its number is the operation's `stepsDone` before it.
  public func recordStep(_ operation: OperationID, number: Int, name: String, at date: Date) throws
  {
    try run(
      """
      INSERT INTO exzo.operation_steps (operation_id, number, name, finished_at)
      VALUES ($1, $2, $3, $4::timestamptz) ON CONFLICT DO NOTHING
      """, .text(operation.rawValue), .init(number), .text(name), .init(date))
  }

  public func steps(of operation: OperationID) throws -> [String] {
    try run(
      "SELECT name FROM exzo.operation_steps WHERE operation_id = $1 ORDER BY number",
      .text(operation.rawValue)
    ).rows.compactMap { $0[0] }
  }

  /// Unfinished operations of all projects, by status.
  public func operationCounts() throws -> [String: Int] {
    let rows = try run(
      """
      SELECT status, count(*)::text AS count FROM exzo.operations
      WHERE status IN ('scheduling', 'running') GROUP BY status
      """
    ).rows
    return try Dictionary(
      uniqueKeysWithValues: rows.map { try ($0.value("status"), $0.value("count")) })
  }
}
