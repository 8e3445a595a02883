/// Sequences, owned and free, with values handed out, set and sequences restarted.
///
/// After a crash a sequence may be ahead by the values logged in advance, never behind.
public struct SequenceWorkload: Workload {
  public let name = "sequence"
  public init() {}

  public let preparation =
    """
    CREATE TABLE used (id bigserial PRIMARY KEY, number bigint UNIQUE, worker int);
    CREATE SEQUENCE free INCREMENT 3 CACHE 5;
    CREATE SEQUENCE jumping;
    CREATE TABLE jump (value bigint NOT NULL);
    INSERT INTO jump VALUES (1)
    """

  public let checks = [
    ConsistencyCheck(
      "no sequence is behind what it handed out",
      """
      SELECT (SELECT last_value FROM used_id_seq) >= coalesce(max(id), 0)
        AND (SELECT last_value FROM free) >= coalesce(max(number), 0) FROM used
      """),
    ConsistencyCheck(
      "a sequence that was set is where it was set, or ahead by what is logged in advance",
      "SELECT j.last_value BETWEEN value AND value + 64 FROM jumping AS j, jump"),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let rows = step.random.pick(1...20)
    var sql = """
      INSERT INTO used (number, worker) SELECT nextval('free'), \(step.worker)
      FROM generate_series(1, \(rows))
      """
    if step.random.oneIn(4) {
      // ALTER SEQUENCE is transactional and takes a new file; setval is neither, so it is not used
      // here.
      sql += """
        ; LOCK TABLE jump; UPDATE jump SET value = value + \(rows * 100);
        DO $$ BEGIN EXECUTE format('ALTER SEQUENCE jumping RESTART %s', (SELECT value FROM jump));
        END $$; SELECT nextval('jumping')
        """
    }
    try step.commit(sql)
  }
}
