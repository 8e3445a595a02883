/// Unlogged and temporary tables beside logged ones.
///
/// Recovery leaves an unlogged table there, empty and usable; of temporary tables it leaves nothing
/// that
/// gets in the way.
public struct UnloggedWorkload: Workload {
  public let name = "unlogged"
  public init() {}

  public let preparation =
    """
    CREATE UNLOGGED TABLE scratch (id bigserial PRIMARY KEY, body text, tags int[]);
    CREATE INDEX ON scratch USING gin (tags);
    CREATE INDEX ON scratch USING hash (body);
    CREATE TABLE logged (id bigserial PRIMARY KEY, body text);
    CREATE TABLE logged_count (rows bigint NOT NULL);
    INSERT INTO logged_count VALUES (0)
    """

  public let checks = [
    ConsistencyCheck(
      "the logged table has the rows that were counted",
      "SELECT (SELECT count(*) FROM logged) = rows FROM logged_count"),
    ConsistencyCheck(
      "the unlogged table is empty", onlyAfterRecovery: true,
      "SELECT count(*) = 0 FROM scratch"),
    ConsistencyCheck(
      "the unlogged table and its indexes work",
      """
      BEGIN; INSERT INTO scratch (body, tags) VALUES ('probe', ARRAY[-1]); SET enable_seqscan = off;
      SELECT count(*) = 1 FROM scratch WHERE tags @> ARRAY[-1] AND body = 'probe'
      """),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let rows = step.random.pick(1...200)
    var sql = """
      INSERT INTO scratch (body, tags) SELECT md5(n::text), ARRAY[n % 5] FROM generate_series(1, \(rows)) AS n;
      INSERT INTO logged (body) SELECT md5(n::text) FROM generate_series(1, \(rows)) AS n;
      UPDATE logged_count SET rows = rows + \(rows);
      CREATE TEMP TABLE passing ON COMMIT DROP AS SELECT n FROM generate_series(1, \(rows * 10)) AS n;
      CREATE INDEX ON passing (n);

      """
    if step.random.oneIn(10) { sql += "TRUNCATE scratch;" }
    // Rewrites the table with and without WAL.
    if step.random.oneIn(30) {
      sql += "ALTER TABLE scratch SET LOGGED; ALTER TABLE scratch SET UNLOGGED;"
    }
    try step.commit(sql)
    try step.attempt(
      "CREATE TEMP TABLE IF NOT EXISTS lasting (n int); INSERT INTO lasting VALUES (1)")
  }
}

/// All kinds of work there are here, for runs that mix them.
public enum Workloads {
  public static let all: [any Workload] = [
    DDLWorkload(), TwoPhaseWorkload(), RowLockWorkload(), SequenceWorkload(), LargeObjectWorkload(),
    RewriteWorkload(), IndexWorkload(), DatabaseWorkload(), UnloggedWorkload(),
  ]

  /// Server settings that the workloads need.
  public static let settings = ["max_prepared_transactions=50", "max_locks_per_transaction=256"]
}
