/// Prepared transactions, committed or rolled back later, some left open over many steps.
///
/// Needs `max_prepared_transactions`. A transfer is written by the prepared transaction; what is
/// meant to
/// become of it is written before.
public struct TwoPhaseWorkload: Workload {
  public let name = "twophase"
  public init() {}

  public let preparation =
    """
    CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
    INSERT INTO account SELECT n, 0 FROM generate_series(1, 2000) AS n;
    CREATE TABLE entry (gid text, account int, amount bigint);
    CREATE TABLE intent (gid text PRIMARY KEY, commits bool, prepared bool, resolved bool)
    """

  public let checks = [
    ConsistencyCheck(
      "balances sum to zero and equal their entries",
      """
      SELECT (SELECT sum(balance) FROM account) = 0 AND NOT EXISTS (SELECT 1 FROM account AS a
        LEFT JOIN (SELECT account, sum(amount) s FROM entry GROUP BY 1) AS e ON e.account = a.id
        WHERE balance <> coalesce(s, 0))
      """),
    ConsistencyCheck(
      "a transfer is whole",
      """
      SELECT coalesce(bool_and(n = 2 AND s = 0), true)
      FROM (SELECT count(*) n, sum(amount) s FROM entry GROUP BY gid) AS e
      """),
    ConsistencyCheck(
      "what was resolved stays resolved",
      """
      SELECT coalesce(bool_and(commits = (gid IN (SELECT gid FROM entry))
        AND gid NOT IN (SELECT gid FROM pg_prepared_xacts)), true) FROM intent WHERE resolved
      """),
    ConsistencyCheck(
      "what was prepared is still prepared, or went the way it was meant to",
      """
      SELECT coalesce(bool_and(gid IN (SELECT gid FROM pg_prepared_xacts)
        OR commits = (gid IN (SELECT gid FROM entry))), true) FROM intent WHERE prepared
      """),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let gid = "w\(step.worker)-\(step.number)-\(step.random.pick(1...1_000_000_000))"
    let range = (step.worker - 1) * 100
    let (from, to) = (range + step.random.pick(1...50), range + step.random.pick(51...100))
    let (amount, commits) = (step.random.pick(1...1000), !step.random.oneIn(4))
    try step.session.execute("INSERT INTO intent VALUES ('\(gid)', \(commits), false, false)")
    // Rows are locked until it is resolved: only this worker's own, and none that still waits.
    let waiting = try step.session.execute(
      "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'w\(step.worker)-%' ORDER BY prepared")
    for old in waiting where waiting.count > 2 || step.random.oneIn(3) {
      try resolve(old, step.session)
    }
    try step.session.execute(
      """
      SET lock_timeout = '200ms'; BEGIN;
      INSERT INTO entry VALUES ('\(gid)', \(from), -\(amount)), ('\(gid)', \(to), \(amount));
      UPDATE account SET balance = balance - \(amount) WHERE id = \(from);
      SAVEPOINT s; UPDATE account SET balance = balance + \(amount) WHERE id = \(to); RELEASE s;
      PREPARE TRANSACTION '\(gid)'
      """)
    try step.commit("UPDATE intent SET prepared = true WHERE gid = '\(gid)'")
    if !step.random.oneIn(3) { try resolve(gid, step.session) }
  }

  private func resolve(_ gid: String, _ session: PsqlSession) throws {
    let commits = try session.execute("SELECT commits FROM intent WHERE gid = '\(gid)'") == ["t"]
    try session.execute(
      """
      \(commits ? "COMMIT" : "ROLLBACK") PREPARED '\(gid)';
      UPDATE intent SET resolved = true WHERE gid = '\(gid)'
      """)
  }
}
