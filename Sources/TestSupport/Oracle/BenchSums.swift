import PostgresFormat

/// pgbench's own invariant: every TPC-B transaction moves one delta through three tables and writes
/// it
/// to the history, so at any transaction boundary the four sums are equal.
///
/// Equal sums alone miss a recovery that stopped early; compare ``historyRows`` with the commits
/// counted in the WAL (``WALSummary/committedInserts(into:before:)``) as well.
public struct BenchSums: Sendable, Hashable {
  public var branches: Int64
  public var tellers: Int64
  public var accounts: Int64
  public var history: Int64
  public var historyRows: Int

  public init(of server: ServerConnection) throws {
    let text = try server.psql(
      """
      SELECT (SELECT coalesce(sum(bbalance), 0) FROM pgbench_branches),
        (SELECT coalesce(sum(tbalance), 0) FROM pgbench_tellers),
        (SELECT coalesce(sum(abalance), 0) FROM pgbench_accounts),
        (SELECT coalesce(sum(delta), 0) FROM pgbench_history),
        (SELECT count(*) FROM pgbench_history)
      """)
    let values = text.split(separator: "|").compactMap { Int64($0) }
    guard values.count == 5 else {
      throw CommandFailure(description: "read pgbench sums: got '\(text)'")
    }
    (branches, tellers, accounts, history) = (values[0], values[1], values[2], values[3])
    historyRows = Int(values[4])
  }

  /// What is wrong, in words; empty when the sums agree and the history has `rows` rows.
  public func failures(expectingRows rows: Int) -> [String] {
    var found: [String] = []
    if Set([branches, tellers, accounts, history]).count != 1 {
      found.append(
        "pgbench sums differ: branches \(branches), tellers \(tellers), accounts \(accounts), "
          + "history \(history)")
    }
    if historyRows != rows {
      found.append("pgbench_history has \(historyRows) rows; the WAL commits \(rows)")
    }
    return found
  }

  /// The relation file of `pgbench_history` as `pg_waldump` names it:
  /// `tablespace/database/relation`.
  /// Ask after pgbench has truncated it (at its start, unless `-n`).
  public static func historyRelation(on server: ServerConnection) throws -> String {
    try server.psql(
      """
      SELECT format('%s/%s/%s', CASE WHEN c.reltablespace = 0 THEN d.dattablespace
        ELSE c.reltablespace END, d.oid, pg_relation_filenode(c.oid))
      FROM pg_class c, pg_database d
      WHERE c.oid = 'pgbench_history'::regclass AND d.datname = current_database()
      """)
  }
}
