/// Subtransactions, more than a backend caches, and rows locked by several transactions at once.
///
/// Rows of rolled-back subtransactions carry negative numbers and must never be seen; a parent
/// row's
/// count equals its children, which foreign keys and share locks of concurrent workers surround.
public struct RowLockWorkload: Workload {
  public let name = "rowlock"
  public init() {}

  public let preparation =
    """
    CREATE TABLE parent (id int PRIMARY KEY, children bigint NOT NULL DEFAULT 0, note text);
    INSERT INTO parent SELECT n FROM generate_series(1, 40) AS n;
    CREATE TABLE child (parent int REFERENCES parent, number int NOT NULL);
    CREATE INDEX ON child (parent)
    """

  public let checks = [
    ConsistencyCheck(
      "each parent counts its children",
      """
      SELECT bool_and(children = (SELECT count(*) FROM child WHERE parent = p.id)) FROM parent AS p
      """),
    ConsistencyCheck(
      "nothing of a rolled-back subtransaction is seen",
      "SELECT NOT EXISTS (SELECT 1 FROM child WHERE number < 0)"),
    ConsistencyCheck(
      "every row can be locked",
      "BEGIN; SELECT count(*) = 40 FROM (SELECT 1 FROM parent FOR UPDATE NOWAIT) AS p"),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let parent = step.random.pick(1...40)
    let depth = step.random.oneIn(10) ? step.random.pick(66...90) : step.random.pick(1...5)
    var sql = """
      SELECT id FROM parent WHERE id BETWEEN 1 AND 5 FOR \(step.random.oneIn(2) ? "KEY SHARE" : "SHARE");
      SELECT id FROM parent WHERE id = \(step.random.pick(1...40)) FOR KEY SHARE;

      """
    var kept = 0
    for level in 1...depth {
      sql += "SAVEPOINT s\(level); "
      if step.random.oneIn(4) {
        sql += "INSERT INTO child VALUES (\(parent), -\(level)); ROLLBACK TO s\(level);\n"
      } else {
        sql += "INSERT INTO child VALUES (\(parent), \(level));\n"
        kept += 1
        if step.random.oneIn(3) { sql += "RELEASE s\(level);\n" }
      }
    }
    sql += "UPDATE parent SET children = children + \(kept) WHERE id = \(parent);\n"
    if step.random.oneIn(5) {
      sql += """
        DO $$ BEGIN
          BEGIN INSERT INTO child VALUES (\(parent), -1); RAISE division_by_zero;
          EXCEPTION WHEN division_by_zero THEN UPDATE parent SET note = 'x' WHERE id = \(parent); END;
        END $$;
        """
    }
    try step.commit(sql)
  }
}
