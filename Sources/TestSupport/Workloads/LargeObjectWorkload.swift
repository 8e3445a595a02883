/// Large objects made, written into, cut and unlinked; a row beside each holds its hash.
public struct LargeObjectWorkload: Workload {
  public let name = "largeobject"
  public init() {}

  public let preparation = "CREATE TABLE object (id oid PRIMARY KEY, hash text, worker int)"

  public let checks = [
    ConsistencyCheck(
      "each large object has the content written down",
      "SELECT coalesce(bool_and(hash = md5(lo_get(id))), true) FROM object"),
    ConsistencyCheck(
      "there are as many large objects as rows",
      "SELECT (SELECT count(*) FROM object) = (SELECT count(*) FROM pg_largeobject_metadata)"),
    ConsistencyCheck(
      "no page belongs to an object that is gone",
      "SELECT NOT EXISTS (SELECT 1 FROM pg_largeobject WHERE loid NOT IN (SELECT id FROM object))"),
  ]

  public func perform(_ step: inout WorkloadStep) throws {
    let size = step.random.pick(1...60)
    let content =
      "decode(repeat(md5('\(step.random.next())'), \(size * 16)), 'hex')"
    let mine = "(SELECT id FROM object WHERE worker = \(step.worker) ORDER BY id LIMIT 1)"
    switch step.random.pick(1...6) {
    case 1:
      try step.commit(
        "SELECT lo_unlink(\(mine)) WHERE EXISTS \(mine); DELETE FROM object WHERE id = \(mine)")
    case 2, 3:
      let offset = step.random.pick(0...20_000)
      try step.commit(
        """
        SELECT lo_put(\(mine), \(offset), \(content)) WHERE EXISTS \(mine);
        UPDATE object SET hash = md5(lo_get(id)) WHERE id = \(mine)
        """)
    default:
      try step.commit(
        """
        INSERT INTO object SELECT lo_from_bytea(0, content), md5(content), \(step.worker)
        FROM (SELECT \(content) AS content) AS made
        """)
    }
  }
}
