/// TRUNCATE, VACUUM FULL, CLUSTER, REINDEX and plain VACUUM around a table whose rows are counted.
public struct RewriteWorkload: Workload {
  public let name = "rewrite"
  public init() {}

  public let preparation =
    """
    CREATE TABLE kept (id bigint PRIMARY KEY, body text, filler text);
    ALTER TABLE kept ALTER COLUMN filler SET STORAGE EXTERNAL;
    CREATE TABLE kept_count (rows bigint NOT NULL, total numeric NOT NULL);
    INSERT INTO kept_count VALUES (0, 0)
    """

  public let checks = [
    ConsistencyCheck(
      "the table has the rows that were counted",
      "SELECT count(*) = max(c.rows) AND coalesce(sum(id), 0) = max(c.total) "
        + "FROM kept_count AS c LEFT JOIN kept ON true HAVING count(kept.id) > 0 "
        + "UNION ALL SELECT rows = 0 FROM kept_count WHERE NOT EXISTS (SELECT 1 FROM kept)"),
    ConsistencyCheck(
      "index and heap agree",
      """
      SET enable_seqscan = off; SELECT count(*) AS by_index FROM kept WHERE id > 0 \\gset
      SET enable_seqscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off;
      SET enable_bitmapscan = off; SELECT count(*) = :by_index FROM kept WHERE id > 0
      """),
    ConsistencyCheck(
      "every out-of-line value can be read",
      "SELECT coalesce(bool_and(length(filler) = 3200), true) FROM kept"),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let rows = step.random.pick(10...400)
    let insertion = """
      WITH base AS (SELECT coalesce(max(id), 0) AS top FROM kept), i AS (INSERT INTO kept
        SELECT top + n, md5(n::text), repeat(md5((top + n)::text), 100)
        FROM base, generate_series(1, \(rows)) AS n RETURNING id)
      UPDATE kept_count SET rows = rows + (SELECT count(*) FROM i),
        total = total + (SELECT coalesce(sum(id), 0) FROM i)
      """
    let lock = "LOCK TABLE kept_count;"
    switch step.random.pick(1...10) {
    case 1:
      try step.commit(
        "\(lock) TRUNCATE kept; UPDATE kept_count SET rows = 0, total = 0; \(insertion)")
    case 2:  // truncated and given back
      try step.commit(
        "\(lock) SAVEPOINT s; TRUNCATE kept; \(insertion); ROLLBACK TO s; \(insertion)")
    case 3...5:
      try step.commit(
        """
        \(lock) WITH d AS (DELETE FROM kept WHERE id % 3 = \(rows % 3) RETURNING id)
        UPDATE kept_count SET rows = rows - (SELECT count(*) FROM d),
          total = total - (SELECT coalesce(sum(id), 0) FROM d)
        """)
    default:
      try step.commit("\(lock) \(insertion)")
    }
    let upkeep = [
      "VACUUM FULL kept", "VACUUM (FREEZE) kept", "CLUSTER kept USING kept_pkey",
      "REINDEX TABLE kept",
      "VACUUM kept", "REINDEX TABLE CONCURRENTLY kept", "CHECKPOINT",
    ]
    if step.random.oneIn(4) {
      try step.attemptRewrite(
        upkeep[step.random.pick(0...upkeep.count - 1)],
        reading: "SELECT sum(length(filler || '')) FROM kept")
    }
  }
}
